"""Conductor's ``${...}`` expressions: compiled once for a definition, resolved for each task.

A text that is one whole expression takes the value with its type; otherwise the values are put
into the text as Java would print them. ``$${x}`` is an escape, braces must balance (else they are
text), an expression inside an expression is resolved first, keys of objects are left alone, and a
result is never looked at again, so that an expression that names itself ends (semantics.md e,
gotchas 52-56). A part that holds no expression is returned as it is, not copied. A whole payload
(``${a.output}``) is handed on as its bytes: it is not decoded to be carried.
"""

from typing import Any

import msgspec

from batuta.core.expression.path import PathError
from batuta.core.expression.reader import (
    Compiled,
    Constant,
    Found,
    Node,
    Scope,
    View,
    compile_reader,
    composed_reader,
)
from batuta.core.expression.text import TEXT_MAX, TextError, to_java_text

__all__ = ["Scope", "Template", "TemplateError", "View", "compile", "escaped"]

EXPRESSION_DEPTH_MAX = 16  # expressions inside expressions; bounds the recursion of the compiler
VALUE_DEPTH_MAX = 200  # levels of objects and lists in a template; bounds the same recursion


class TemplateError(Exception):
    """A template that exceeds a named limit; the task that needs it fails with this message."""


class Template:
    """A compiled value: what it needs, and how to resolve it.

    Attributes:
        roots: Root names it reads, as far as they stand in its text.
        is_dynamic: True when an expression chooses its root at run time (``${${x}.output}``), so
            that ``roots`` is not all.
        references: The texts of its expressions, inner ones included, in order.
        is_constant: True when it needs no scope; ``constant`` is then the value.
        constant: The value of a constant template, with escapes undone; else None.
    """

    __slots__ = ("constant", "is_constant", "is_dynamic", "references", "resolve", "roots")

    def __init__(self, node: Node | None, constant: Any, found: Found) -> None:
        self.is_constant = node is None
        self.constant = constant
        self.roots = frozenset(found.roots)
        self.is_dynamic = found.is_dynamic
        self.references = tuple(found.references)
        #: Resolve for a scope; may hold ``msgspec.Raw`` where an expression names a whole payload.
        #: Shares unchanged parts with the template: do not change the result in place. Raises
        #: TemplateError when a limit named in this module is exceeded.
        self.resolve: Node = _guarded(node) if node is not None else lambda _scope: constant


class _Expression(msgspec.Struct, frozen=True):
    """One ``${...}`` of a text and what is between its braces."""

    inside: str


_Part = str | _Expression


def compile(value: Any) -> Template:  # noqa: A001 - read as template.compile
    """Compile a decoded JSON value; never fails, limits are reported by ``resolve``.

    Source: semantics.md e; conductor ParametersUtils.replace.
    """
    found = Found()
    compiled = _compile(value, found, 0)
    if isinstance(compiled, Constant):
        return Template(None, compiled.value, found)
    return Template(compiled, None, found)


def escaped(value: Any) -> Any:
    """Return a decoded JSON value whose texts stay as they are: none of them is an expression.

    For what somebody wrote who does not know of expressions; ``compile`` gives back the value.
    """
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return value


def _guarded(node: Node) -> Node:
    def resolve(scope: Scope) -> Any:
        try:
            return node(scope)
        except (PathError, TextError) as error:
            raise TemplateError(str(error)) from error

    return resolve


def _compile(value: Any, found: Found, depth: int) -> Compiled:
    kind = type(value)
    if kind is str:
        return _compile_text(value, found) if "${" in value else Constant(value)
    if kind is not dict and kind is not list:
        return Constant(value)
    if depth >= VALUE_DEPTH_MAX:
        return _failing(f"a template is deeper than VALUE_DEPTH_MAX={VALUE_DEPTH_MAX}")
    entries = value.items() if kind is dict else enumerate(value)
    base = value.copy()
    nodes: list[tuple[Any, Node]] = []
    for key, item in entries:
        compiled = _compile(item, found, depth + 1)
        if isinstance(compiled, Constant):
            base[key] = compiled.value
        else:
            base[key] = None
            nodes.append((key, compiled))
    if not nodes:
        return Constant(base)
    return _filling(base, tuple(nodes))


def _filling(base: Any, nodes: tuple[tuple[Any, Node], ...]) -> Node:
    """Copy ``base``, which keeps the order of keys, and set what depends on the scope."""

    def fill(scope: Scope) -> Any:
        result = base.copy()
        for key, node in nodes:
            result[key] = node(scope)
        return result

    return fill


def _failing(message: str) -> Node:
    def fail(_scope: Scope) -> Any:
        raise TemplateError(message)

    return fail


def _compile_text(text: str, found: Found) -> Compiled:
    parts = _split(text)
    if len(parts) == 1 and isinstance(part := parts[0], _Expression):
        return _compile_expression(part, found, 0, carries=True)
    return _interpolation(parts, found, 0)


def _interpolation(parts: list[_Part], found: Found, depth: int) -> Compiled:
    pieces: list[str | Node] = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(part.replace("$${", "${"))
            continue
        compiled = _compile_expression(part, found, depth, carries=False)
        pieces.append(to_java_text(compiled.value) if isinstance(compiled, Constant) else compiled)
    if all(isinstance(piece, str) for piece in pieces):
        return Constant("".join(map(str, pieces)))

    def interpolate(scope: Scope) -> str:
        texts: list[str] = []
        size = 0
        for piece in pieces:
            text = piece if isinstance(piece, str) else to_java_text(piece(scope))
            size += len(text)
            if size > TEXT_MAX:
                raise TextError(f"a text grows beyond TEXT_MAX={TEXT_MAX} characters")
            texts.append(text)
        return "".join(texts)

    return interpolate


def _split(text: str) -> list[_Part]:
    """Cut a text into literal pieces and its outermost balanced expressions, in one pass."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for position, character in enumerate(text):
        if character == "{":
            opened.append(position)
        elif character == "}" and opened:
            closing[opened.pop()] = position
    parts: list[_Part] = []
    done = at = 0
    while (start := text.find("${", at)) >= 0:
        end = closing.get(start + 1)
        if end is None or (start > 0 and text[start - 1] == "$"):
            at = start + 1
            continue
        if start > done:
            parts.append(text[done:start])
        parts.append(_Expression(text[start + 2 : end]))
        done = at = end + 1
    if done < len(text):
        parts.append(text[done:])
    return parts


def _compile_expression(
    expression: _Expression, found: Found, depth: int, *, carries: bool
) -> Compiled:
    inside = expression.inside
    found.references.append(inside)
    if "${" not in inside:
        return compile_reader(inside, found, carries=carries)
    if depth + 1 >= EXPRESSION_DEPTH_MAX:
        return _failing(f"expressions nest deeper than {EXPRESSION_DEPTH_MAX=}")
    parts = _split(inside)
    path = _interpolation(parts, found, depth + 1)
    if isinstance(path, Constant):
        return compile_reader(path.value, found, carries=carries)
    root = _leading_root(parts[0])
    if root is None:
        found.is_dynamic = True
    else:
        found.roots.add(root)

    def read_composed(scope: Scope) -> Any:
        reader = composed_reader(path(scope), carries=carries)
        return reader.value if isinstance(reader, Constant) else reader(scope)

    return read_composed


def _leading_root(part: _Part) -> str | None:
    """Give the root of a composed path when it is complete before the first inner expression."""
    if isinstance(part, _Expression):
        return None
    text = part.strip().removeprefix("$.")
    ends = [position for mark in ".[" if (position := text.find(mark)) > 0]
    return text[: min(ends)] if ends else None
