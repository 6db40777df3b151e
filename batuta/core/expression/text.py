"""How a value reads inside a text: Java's ``toString``, as Conductor's users see it."""

from decimal import Decimal
from typing import Any

TEXT_MAX = 1 << 20  # characters one interpolated text may have; bounds a value that doubles itself
TEXT_DEPTH_MAX = 200  # levels of a value shown as text; bounds the recursion

_PLAIN_MIN = 1e-3  # Double.toString writes an exponent below this ...
_PLAIN_MAX = 1e7  # ... and from this on


class TextError(Exception):
    """A value that is too deep, or too long, to stand in a text."""


def to_java_text(value: Any) -> str:
    """Write a decoded JSON value as Java's ``String.valueOf`` does.

    null, true and numbers plain, texts without quotes, ``{a=1, b=[1, 2]}`` for the rest. This is
    also how a SWITCH turns its result into a case: "null", "true", "1".

    Raises:
        TextError: the value is deeper than TEXT_DEPTH_MAX.

    Source: semantics.md c.9 SWITCH and e; java.util.AbstractMap.toString, Double.toString.
    """
    return value if type(value) is str else _text(value, 0)


def _text(value: Any, depth: int) -> str:
    if depth > TEXT_DEPTH_MAX:
        raise TextError(f"a value deeper than TEXT_DEPTH_MAX={TEXT_DEPTH_MAX} cannot become text")
    kind = type(value)
    if kind is str:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return _double(value)
    if kind is list:
        return f"[{', '.join([_text(item, depth + 1) for item in value])}]"
    if kind is dict:
        pairs = [f"{key}={_text(item, depth + 1)}" for key, item in value.items()]
        return f"{{{', '.join(pairs)}}}"
    return str(value)


def _double(value: float) -> str:
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or _PLAIN_MIN <= abs(value) < _PLAIN_MAX:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int), "a finite number has a numeric exponent"
    mantissa = "".join(map(str, digits)).rstrip("0") or "0"
    power = exponent + len(digits) - 1
    return f"{'-' * sign}{mantissa[0]}.{mantissa[1:] or '0'}E{power}"
