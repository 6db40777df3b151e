"""The filters of paths: ``[?(@.price > 10 && @.kind == 'a')]``.

Operands are ``@`` with definite steps, numbers, texts, true, false, null and lists of those;
operators are ``== != < <= > >= in nin && || !``. Comparing follows Jayway: a number and a text
are equal when they read alike, other mixed kinds never are; an order exists only within numbers
and within texts. ``=~`` is left out on purpose: a backtracking pattern could stall a decision.
"""

import re
from collections.abc import Callable
from typing import Any

FILTER_DEPTH_MAX = 16  # nested parentheses and negations; bounds the recursion of parser and run

Test = Callable[[Any], bool]
Operand = Callable[[Any], Any]

_SPACE = re.compile(r"\s*")
_STEP = re.compile(r"""\.([\w$-]+)|\[\s*(?:'([^']*)'|"([^"]*)"|(-?[0-9]+))\s*\]""")
_LENGTH = re.compile(r"\.(?:length|size)\(\s*\)")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TEXT = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_WORD = re.compile(r"(true|false|null)\b")
_OPERATOR = re.compile(r"==|!=|<=|>=|<|>|n?in\b", re.IGNORECASE)
_WORDS = {"true": True, "false": False, "null": None}


class FilterSyntaxError(Exception):
    """The text is no filter."""


class _Missing:
    """What ``@.x`` is where there is no x; unlike null, it equals nothing."""


_MISSING = _Missing()


def parse_filter(text: str, position: int) -> tuple[Test, int]:
    """Parse a filter from just behind its ``?(``.

    Returns:
        The test of one item, and the position of the closing parenthesis.

    Raises:
        FilterSyntaxError: it is no filter of the grammar above.

    Source: Jayway JsonPath's FilterCompiler and EvaluatorFactory.
    """
    return _either(text, position, 0)


def _either(text: str, position: int, depth: int) -> tuple[Test, int]:
    tests: list[Test] = []
    while True:
        test, position = _all(text, position, depth)
        tests.append(test)
        position = _skip(text, position)
        if not text.startswith("||", position):
            return (test if len(tests) == 1 else _any_of(tests)), position
        position += 2


def _all(text: str, position: int, depth: int) -> tuple[Test, int]:
    tests: list[Test] = []
    while True:
        test, position = _single(text, position, depth)
        tests.append(test)
        position = _skip(text, position)
        if not text.startswith("&&", position):
            return (test if len(tests) == 1 else _all_of(tests)), position
        position += 2


def _any_of(tests: list[Test]) -> Test:
    return lambda item: any(test(item) for test in tests)


def _all_of(tests: list[Test]) -> Test:
    return lambda item: all(test(item) for test in tests)


def _single(text: str, position: int, depth: int) -> tuple[Test, int]:
    if depth > FILTER_DEPTH_MAX:
        raise FilterSyntaxError
    position = _skip(text, position)
    if text.startswith("!", position):
        test, position = _single(text, position + 1, depth + 1)
        return (lambda item: not test(item)), position
    if text.startswith("(", position):
        test, position = _either(text, position + 1, depth + 1)
        if not text.startswith(")", position):
            raise FilterSyntaxError
        return test, position + 1
    return _comparison(text, position)


def _comparison(text: str, position: int) -> tuple[Test, int]:
    left, position = _operand(text, position)
    position = _skip(text, position)
    operator = _OPERATOR.match(text, position)
    if operator is None:
        # A lone path asks whether it is there, whatever its value.
        return (lambda item: left(item) is not _MISSING), position
    right, position = _operand(text, _skip(text, operator.end()))
    compare = _COMPARISONS[operator[0].lower()]
    return (lambda item: compare(left(item), right(item))), position


def _operand(text: str, position: int) -> tuple[Operand, int]:
    if text.startswith("@", position):
        return _item_path(text, position + 1)
    value, position = _literal(text, position)
    return (lambda _item: value), position


def _item_path(text: str, position: int) -> tuple[Operand, int]:
    steps: list[str | int] = []
    measures = False
    while not measures:
        if match := _LENGTH.match(text, position):
            measures = True
        elif match := _STEP.match(text, position):
            names = [name for name in match.groups()[:3] if name is not None]
            steps.append(names[0] if names else int(match[4]))
        else:
            break
        position = match.end()

    def operand(item: Any) -> Any:
        for step in steps:
            item = _child(item, step)
        if measures:
            return len(item) if type(item) in (list, dict) else _MISSING
        return item

    return operand, position


def _child(item: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return item.get(step, _MISSING) if type(item) is dict else _MISSING
    if type(item) is list and -len(item) <= step < len(item):
        return item[step]
    return _MISSING


def _literal(text: str, position: int) -> tuple[Any, int]:
    if match := _NUMBER.match(text, position):
        whole = match[1] is None and match[2] is None
        return (int(match[0]) if whole else float(match[0])), match.end()
    if match := _TEXT.match(text, position):
        raw = match[1] if match[1] is not None else match[2]
        return re.sub(r"\\(.)", r"\1", raw), match.end()
    if match := _WORD.match(text, position):
        return _WORDS[match[1]], match.end()
    if text.startswith("[", position):
        return _list(text, position + 1)
    raise FilterSyntaxError


def _list(text: str, position: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    position = _skip(text, position)
    while not text.startswith("]", position):
        if text.startswith("[", position):
            raise FilterSyntaxError  # a list in a list: nothing compares with it
        item, position = _literal(text, position)
        items.append(item)
        position = _skip(text, position)
        if text.startswith(",", position):
            position = _skip(text, position + 1)
    return items, position + 1


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None, "a pattern that may be empty always matches"
    return match.end()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _equal(left: Any, right: Any) -> bool:
    if left is _MISSING or right is _MISSING:
        return False
    if type(left) is type(right) or (_is_number(left) and _is_number(right)):
        return bool(left == right)
    if _is_number(left) and type(right) is str:
        left, right = right, left
    return type(left) is str and _is_number(right) and left == str(right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        comparable = (_is_number(left) and _is_number(right)) or (
            type(left) is str and type(right) is str
        )
        return comparable and compare(left, right)

    return ordered


def _among(left: Any, right: Any) -> bool:
    return type(right) is list and any(_equal(left, item) for item in right)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "in": _among,
    "nin": lambda left, right: not _among(left, right),
}
