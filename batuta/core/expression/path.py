"""The paths inside ``${...}``: a small JSONPath of our own, with the meaning of Jayway's.

A path is parsed once into a root name, *steps* (definite: keys, indexes, sets of keys) and
*stages* (indefinite: wildcard, ``..``, slice, filter; each maps a list of nodes to a list of
nodes). A definite path that finds nothing is None; an indefinite one always gives a list, if
need be an empty one (gotcha 55). A text that is no path parses to None and reads as None.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from batuta.core.expression.path_filter import FilterSyntaxError, parse_filter

PATH_TEXT_MAX = 2048  # characters of one path; a longer one is data in the wrong place
PATH_NODES_MAX = 100_000  # nodes a wildcard or ``..`` may visit; bounds one decision's time

Step = str | int | tuple[str, ...]
Stage = Callable[[list[Any]], list[Any]]

_NAME = re.compile(r"[^.\[\]\s()]+")
_CALL = re.compile(r"\(\s*\)")
_QUOTED = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*([,\]])""")
_INDEXES = re.compile(r"\s*(-?[0-9]+(?:\s*,\s*-?[0-9]+)*)\s*\]")
_SLICE = re.compile(r"\s*(-?[0-9]+)?\s*:\s*(-?[0-9]+)?\s*\]")
_WILDCARD = re.compile(r"\s*\*\s*\]")
_FILTER = re.compile(r"\s*\?\s*\(")
_FILTER_END = re.compile(r"\s*\)\s*\]")


class PathError(Exception):
    """A path that visits more than PATH_NODES_MAX nodes."""


class Path(msgspec.Struct, frozen=True):
    """A parsed path: where it starts and how it goes on."""

    root: str
    steps: tuple[Step, ...]
    stages: tuple[Stage, ...] = ()
    function: str | None = None

    @property
    def is_plain(self) -> bool:
        """Say whether the steps are all there is."""
        return not self.stages and self.function is None


class _SyntaxError(Exception):
    """The text is no path."""


def parse_path(text: str) -> Path | None:
    """Parse the inside of a ``${...}``; ``$.`` in front is optional.

    Returns:
        The path, or None when the text is none (Jayway raises, Conductor reads null).

    Source: semantics.md e; Jayway JsonPath's PathCompiler.
    """
    text = text.strip()
    if len(text) > PATH_TEXT_MAX:
        return None
    if text.startswith("$"):
        text = text[1:]
    elif not text.startswith("["):
        text = "." + text
    try:
        parts = _parse(text)
    except (_SyntaxError, FilterSyntaxError):
        return None
    function = parts.pop() if parts and isinstance(parts[-1], _Function) else None
    if not parts or not isinstance(parts[0], str):
        return None
    steps: list[Step] = []
    stages: list[Stage] = []
    for part in parts[1:]:
        if isinstance(part, _Function):
            return None
        if not isinstance(part, str | int | tuple):
            stages.append(part)
        elif stages:
            stages.append(_step_stage(part))
        else:
            steps.append(part)
    name = function.name if isinstance(function, _Function) else None
    return Path(parts[0], tuple(steps), tuple(stages), name)


def read(value: Any, path: Path) -> Any:
    """Follow what stands behind a path's root, from the root's value.

    Returns:
        The value; None when nothing is there; a list for an indefinite path.

    Raises:
        PathError: more than PATH_NODES_MAX nodes were visited.
    """
    if path.stages:
        nodes = [] if (start := walk(value, path.steps)) is None else [start]
        for stage in path.stages:
            nodes = stage(nodes)
            if len(nodes) > PATH_NODES_MAX:
                raise PathError(_TOO_MANY)
        value = nodes
    else:
        value = walk(value, path.steps)
    return value if path.function is None else _FUNCTIONS[path.function](value)


def walk(value: Any, steps: tuple[Step, ...]) -> Any:
    """Follow definite steps; None as soon as one of them finds nothing."""
    for step in steps:
        if type(step) is str:
            if type(value) is not dict:
                return None
            value = value.get(step)
        elif type(step) is int:
            if type(value) is not list or not -len(value) <= step < len(value):
                return None
            value = value[step]
        elif type(value) is dict:
            assert isinstance(step, tuple), "a step that is no key and no index is a set of keys"
            value = {key: value[key] for key in step if key in value}
        else:
            return None
    return value


_TOO_MANY = f"a path visits more than PATH_NODES_MAX={PATH_NODES_MAX} nodes; narrow it"


class _Function(msgspec.Struct, frozen=True):
    name: str


_Part = str | int | tuple[str, ...] | Stage | _Function


def _parse(text: str) -> list[_Part]:
    parts: list[_Part] = []
    position = 0
    while position < len(text):
        if text.startswith("..", position):
            parts.append(_scan)
            position += 2
            if not text.startswith("[", position):
                part, position = _name(text, position)
                parts.append(part)
        elif text[position] == "." and not text.startswith("[", position + 1):
            part, position = _name(text, position + 1)
            parts.append(part)
        else:
            # Jayway reads ``a.['b']`` like ``a['b']``.
            position += text[position] == "."
            part, position = _bracket(text, position)
            parts.append(part)
    return parts


def _name(text: str, position: int) -> tuple[_Part, int]:
    match = _NAME.match(text, position)
    if match is None:
        raise _SyntaxError
    name, end = match[0], match.end()
    if name == "*":
        return _wildcard, end
    if call := _CALL.match(text, end):
        if name not in _FUNCTIONS:
            raise _SyntaxError
        return _Function(name), call.end()
    if end < len(text) and text[end] not in ".[":
        raise _SyntaxError
    return name, end


def _bracket(text: str, position: int) -> tuple[_Part, int]:
    if not text.startswith("[", position):
        raise _SyntaxError
    position += 1
    if match := _WILDCARD.match(text, position):
        return _wildcard, match.end()
    if match := _INDEXES.match(text, position):
        indexes = tuple(int(index) for index in match[1].split(","))
        part: _Part = indexes[0] if len(indexes) == 1 else _indexes_stage(indexes)
        return part, match.end()
    if match := _SLICE.match(text, position):
        start, stop = (int(bound) if bound else None for bound in match.groups())
        return _slice_stage(slice(start, stop)), match.end()
    if match := _FILTER.match(text, position):
        keeps, position = parse_filter(text, match.end())
        if (end := _FILTER_END.match(text, position)) is None:
            raise _SyntaxError
        return _filter_stage(keeps), end.end()
    return _quoted(text, position)


def _quoted(text: str, position: int) -> tuple[_Part, int]:
    keys: list[str] = []
    while match := _QUOTED.match(text, position):
        raw = match[1] if match[1] is not None else match[2]
        keys.append(re.sub(r"\\(.)", r"\1", raw))
        position = match.end()
        if match[3] == "]":
            return (keys[0] if len(keys) == 1 else tuple(keys)), position
    raise _SyntaxError


def _step_stage(step: Step) -> Stage:
    if isinstance(step, str):
        return lambda nodes: [n[step] for n in nodes if type(n) is dict and step in n]
    if isinstance(step, int):
        return _indexes_stage((step,))
    return lambda nodes: [walk(n, (step,)) for n in nodes if type(n) is dict]


def _indexes_stage(indexes: tuple[int, ...]) -> Stage:
    def stage(nodes: list[Any]) -> list[Any]:
        return [
            node[index]
            for node in nodes
            if type(node) is list
            for index in indexes
            if -len(node) <= index < len(node)
        ]

    return stage


def _slice_stage(bounds: slice) -> Stage:
    return lambda nodes: [item for n in nodes if type(n) is list for item in n[bounds]]


def _filter_stage(keeps: Callable[[Any], bool]) -> Stage:
    def stage(nodes: list[Any]) -> list[Any]:
        kept: list[Any] = []
        for node in nodes:
            if type(node) is list:
                kept += [item for item in node if keeps(item)]
            elif type(node) is dict and keeps(node):
                kept.append(node)
        return kept

    return stage


def _wildcard(nodes: list[Any]) -> list[Any]:
    found: list[Any] = []
    for node in nodes:
        if type(node) is list:
            found += node
        elif type(node) is dict:
            found += node.values()
    return found


def _scan(nodes: list[Any]) -> list[Any]:
    """Give every object and list at or below the nodes, parents before children."""
    found: list[Any] = []
    waiting = nodes[::-1]
    while waiting:
        node = waiting.pop()
        if type(node) is dict:
            children = list(node.values())
        elif type(node) is list:
            children = node
        else:
            continue
        found.append(node)
        waiting += children[::-1]
        if len(found) > PATH_NODES_MAX:
            raise PathError(_TOO_MANY)
    return found


def _numbers(value: Any) -> list[Any]:
    items = value if type(value) is list else []
    return [item for item in items if type(item) in (int, float)]


def _length(value: Any) -> int | None:
    return len(value) if type(value) in (list, dict) else None


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "length": _length,
    "size": _length,
    "keys": lambda value: list(value) if type(value) is dict else None,
    "first": lambda value: walk(value, (0,)),
    "last": lambda value: walk(value, (-1,)),
    "min": lambda value: min(_numbers(value), default=None),
    "max": lambda value: max(_numbers(value), default=None),
    "sum": lambda value: sum(_numbers(value)) if _numbers(value) else None,
    "avg": lambda value: sum(found) / len(found) if (found := _numbers(value)) else None,
}
