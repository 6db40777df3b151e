"""JSON Logic (jsonlogic.com): rules as JSON, with JavaScript's conversions.

The conversions are those of the core's own JavaScript. Why no library: docs/design/002.
"""

from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

from batuta.core.expression.javascript import (
    OPERATORS,
    UNDEFINED,
    is_true,
    to_number,
    to_result,
    to_text,
)
from batuta.dialects.dag.text import value_at

DEPTH_MAX = 50  # levels of a rule; each costs frames of Python's stack
ITEMS_MAX = 100_000  # evaluations of one rule; nested loops over long lists cost seconds
TEXT_CHARACTERS_MAX = 1_000_000  # that `cat` makes; a loop over its own result doubles it each time
SIZE_PER_STEP = 1_000  # characters or items of a value that cost as much as an evaluation
_SHOWN_MAX = 200  # characters of values that a message repeats


class LogicError(Exception):
    """The rule cannot be evaluated."""


class _Evaluation:
    """One evaluation of a rule, with what it may still cost."""

    def __init__(self) -> None:
        self.left = ITEMS_MAX

    def value(self, rule: Any, data: Any, depth: int = 0) -> Any:
        if depth > DEPTH_MAX:
            raise LogicError(f"the rule nests deeper than {DEPTH_MAX} levels")
        self.charge(1)
        if isinstance(rule, list):
            return [self.value(item, data, depth + 1) for item in rule]
        if not isinstance(rule, dict) or len(rule) != 1:
            return rule
        [(name, given)] = rule.items()
        listed = given if isinstance(given, list) else [given]
        control = _CONTROL.get(name)
        if control is not None:
            return control(self, listed, data, depth + 1)
        operator = _PLAIN.get(name)
        if operator is None:
            raise LogicError(f"Unrecognized operation {name}")
        values = [self.value(item, data, depth + 1) for item in listed]
        self.charge(sum(len(v) for v in values if isinstance(v, str | list)) // SIZE_PER_STEP)
        try:
            return operator(values, data)
        except (ArithmeticError, IndexError, TypeError, ValueError) as error:
            shown = repr(values)[:_SHOWN_MAX]
            raise LogicError(f"{name} cannot be applied to {shown}: {error}") from error

    def charge(self, steps: int) -> None:
        """Note what has been done; refuse to go on beyond the limit."""
        self.left -= steps
        if self.left < 0:
            raise LogicError(f"the rule takes more than {ITEMS_MAX} steps")

    def weigh(self, value: Any) -> Any:
        """Charge for all that is in a value, which may have itself in it many times; return it."""
        waiting = [value]
        while waiting:
            found = waiting.pop()
            self.charge(1)
            if isinstance(found, list):
                waiting += found
            elif isinstance(found, dict):
                waiting += found.values()
        return value


def evaluate(rule: Any, data: Any) -> Any:
    """Return the value of a rule over data.

    Raises:
        LogicError: It has an unknown operation, or is too large.
    """
    found = to_result(_Evaluation().value(rule, data))
    return None if found is UNDEFINED else found


def levels(rule: Any) -> int:
    """Return how deep a rule nests; beyond DEPTH_MAX it cannot be evaluated."""
    if isinstance(rule, dict) and len(rule) == 1:
        [given] = rule.values()
        inner = given if isinstance(given, list) else [given]
    elif isinstance(rule, list):
        inner = rule
    else:
        return 0
    return 1 + max((levels(item) for item in inner), default=0)


def holds(value: Any) -> bool:
    """Say whether a value is true: as in JavaScript, but an empty list is false."""
    return is_true(value) and value != []


def _if(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> Any:
    for place in range(0, len(rules) - 1, 2):
        if holds(run.value(rules[place], data, depth)):
            return run.value(rules[place + 1], data, depth)
    return run.value(rules[-1], data, depth) if len(rules) % 2 else None


def _and(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> Any:
    found: Any = None
    for rule in rules:
        found = run.value(rule, data, depth)
        if not holds(found):
            return found
    return found


def _or(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> Any:
    found: Any = None
    for rule in rules:
        found = run.value(rule, data, depth)
        if holds(found):
            return found
    return found


def _items(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> list[Any]:
    found = run.value(rules[0], data, depth) if rules else None
    return found if isinstance(found, list) else []


def _filter(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> list[Any]:
    return [
        item
        for item in _items(run, rules, data, depth)
        if holds(run.value(_second(rules), item, depth))
    ]


def _map(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> list[Any]:
    items = _items(run, rules, data, depth)
    return [run.value(_second(rules), item, depth) for item in items]


def _reduce(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> Any:
    start = run.value(rules[2], data, depth) if len(rules) > 2 else None
    return reduce(
        lambda so_far, item: run.weigh(
            run.value(_second(rules), {"current": item, "accumulator": so_far}, depth)
        ),
        _items(run, rules, data, depth),
        start,
    )


def _all(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> bool:
    items = _items(run, rules, data, depth)
    return bool(items) and all(holds(run.value(_second(rules), item, depth)) for item in items)


def _some(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> bool:
    return bool(_filter(run, rules, data, depth))


def _none(run: _Evaluation, rules: list[Any], data: Any, depth: int) -> bool:
    return not _some(run, rules, data, depth)


def _second(rules: list[Any]) -> Any:
    return rules[1] if len(rules) > 1 else None


def _var(values: list[Any], data: Any) -> Any:
    path = values[0] if values else ""
    if path is None or path == "":
        return data
    found = value_at(data, to_text(path))
    if found is UNDEFINED or found is None:
        return values[1] if len(values) > 1 else None
    return found


def _missing(values: list[Any], data: Any) -> list[Any]:
    names = values[0] if values and isinstance(values[0], list) else values
    return [name for name in names if _var([name], data) in (None, "")]


def _missing_some(values: list[Any], data: Any) -> list[Any]:
    needed, names = values
    missing = _missing([names], data)
    return [] if len(names) - len(missing) >= to_number(needed) else missing


def _chain(name: str) -> Callable[[list[Any], Any], Any]:
    """Compare two values, or three where the one in the middle is between."""

    def compare(values: list[Any], _: Any) -> bool:
        padded = [*values, UNDEFINED, UNDEFINED][: max(len(values), 2)]
        relate = OPERATORS[name]
        return all(relate(left, right) for left, right in pairwise(padded[:3]))

    return compare


def _fold(name: str, alone: Callable[[Any], Any]) -> Callable[[list[Any], Any], Any]:
    def fold(values: list[Any], _: Any) -> Any:
        if len(values) == 1:
            return alone(values[0])
        return reduce(OPERATORS[name], [to_number(value) for value in values])

    return fold


def _in(values: list[Any], _: Any) -> bool:
    wanted, holder = values[0], values[1] if len(values) > 1 else None
    if isinstance(holder, str):
        return to_text(wanted) in holder
    same = OPERATORS["==="]
    return isinstance(holder, list) and any(same(wanted, item) for item in holder)


def _substr(values: list[Any], _: Any) -> str:
    text = to_text(values[0])
    start = int(to_number(values[1])) if len(values) > 1 else 0
    rest = text[start:] if start >= 0 else text[max(len(text) + start, 0) :]
    if len(values) < 3:
        return rest
    length = int(to_number(values[2]))
    return rest[:length] if length >= 0 else rest[: max(len(rest) + length, 0)]


def _cat(values: list[Any], _: Any) -> str:
    texts, left = [], TEXT_CHARACTERS_MAX
    for value in values:
        texts.append(to_text(value))
        left -= len(texts[-1])
        if left < 0:
            raise LogicError(f"the rule makes a text of more than {TEXT_CHARACTERS_MAX} characters")
    return "".join(texts)


def _merge(values: list[Any], _: Any) -> list[Any]:
    merged: list[Any] = []
    for value in values:
        merged.extend(value if isinstance(value, list) else [value])
        if len(merged) > ITEMS_MAX:
            raise LogicError(f"the rule makes a list of more than {ITEMS_MAX} items")
    return merged


_CONTROL: dict[str, Callable[[_Evaluation, list[Any], Any, int], Any]] = {
    "if": _if,
    "?:": _if,
    "and": _and,
    "or": _or,
    "filter": _filter,
    "map": _map,
    "reduce": _reduce,
    "all": _all,
    "some": _some,
    "none": _none,
}
_PLAIN: dict[str, Callable[[list[Any], Any], Any]] = {
    "var": _var,
    "missing": _missing,
    "missing_some": _missing_some,
    **{name: _chain(name) for name in ("==", "===", "!=", "!==", "<", "<=", ">", ">=")},
    "!": lambda values, _: not holds(values[0] if values else None),
    "!!": lambda values, _: holds(values[0] if values else None),
    "max": lambda values, _: max(to_number(value) for value in values),
    "min": lambda values, _: min(to_number(value) for value in values),
    "+": _fold("+", to_number),
    "*": _fold("*", to_number),
    "-": _fold("-", lambda value: -to_number(value)),
    "/": lambda values, _: OPERATORS["/"](values[0], values[1]),
    "%": lambda values, _: OPERATORS["%"](values[0], values[1]),
    "in": _in,
    "cat": _cat,
    "substr": _substr,
    "merge": _merge,
    "log": lambda values, _: values[0] if values else None,
}
