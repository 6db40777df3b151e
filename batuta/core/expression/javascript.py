"""JavaScript's values and operators on decoded JSON, to the letter of ECMA-262.

A value is what JSON decodes to, plus UNDEFINED; objects and lists compare by identity. What this
model cannot answer exactly (inherited properties, halves of surrogate pairs, values of enormous
size) raises NotSimpleError, so that a real interpreter may; it is never answered nearly right.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

CHARACTERS_MAX = 1 << 20  # of a text put together by ``+``; bounds the memory of one script
NESTING_MAX = 100  # levels of a list turned into text, or of a result; bounds the recursion

SPACE: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


_EXACT_MAX = 1 << 53  # integers up to here are doubles without loss
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_RADIX = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_PLAIN_DIGITS_MAX = 21  # Number::toString writes an exponent above this
_SMALL_EXPONENT = -6  # ... and below this


class ScriptError(Exception):
    """The script fails, with the message a JavaScript engine would give."""


class NotSimpleError(ScriptError):
    """The script needs the sandbox after all: with these values it leaves the simple forms."""


class _Undefined:
    """JavaScript's ``undefined``."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()


def type_of(value: Any) -> str:
    """Give what ``typeof`` gives: undefined, object (null too), boolean, number or string."""
    if value is UNDEFINED:
        return "undefined"
    if type(value) is bool:
        return "boolean"
    if type(value) in (int, float):
        return "number"
    return "string" if type(value) is str else "object"


def is_true(value: Any) -> bool:
    """Convert to a boolean: false, 0, NaN, "", null and undefined are false."""
    kind = type(value)
    if kind is bool:
        return bool(value)
    if kind is float:
        return value != 0 and not math.isnan(value)
    if kind is int or kind is str:
        return bool(value)
    return value is not None and value is not UNDEFINED


def to_number(value: Any) -> int | float:
    """Convert to a number, NaN included; integers beyond 2**53 become doubles."""
    kind = type(value)
    if kind is float:
        return float(value)
    if kind is int:
        return _double_of(value)
    if kind is bool:
        return int(value)
    if value is None:
        return 0
    if value is UNDEFINED:
        return math.nan
    return _number_of_text(value if kind is str else to_primitive(value))


def _double_of(value: int) -> int | float:
    if -_EXACT_MAX <= value <= _EXACT_MAX:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _number_of_text(text: str) -> int | float:
    text = text.strip(SPACE)
    if not text:
        return 0
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _RADIX.fullmatch(text):
        return _double_of(int(text, 0))
    if text in ("Infinity", "+Infinity", "-Infinity"):
        return float(text)
    return math.nan


def to_primitive(value: Any) -> Any:
    """Turn an object or a list into its text; leave the rest alone."""
    return _primitive(value, 0)


def _primitive(value: Any, depth: int) -> Any:
    if type(value) is dict:
        if "toString" in value or "valueOf" in value:
            raise NotSimpleError("an object with a toString or valueOf of its own")
        return "[object Object]"
    if type(value) is not list:
        return value
    if depth > NESTING_MAX:
        raise NotSimpleError(f"a list nests deeper than {NESTING_MAX=}")
    texts = [
        "" if item is None or item is UNDEFINED else _primitive_text(_primitive(item, depth + 1))
        for item in value
    ]
    return ",".join(texts)


def to_text(value: Any) -> str:
    """Convert to a string: ``1.0`` is "1", lists are joined by commas."""
    return _primitive_text(to_primitive(value))


def _primitive_text(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    if value is UNDEFINED:
        return "undefined"
    return _number_text(value)


def _number_text(value: float) -> str:
    number = to_number(value)
    if isinstance(number, int):
        return str(number)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    _, digit_tuple, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int), "a finite number has a numeric exponent"
    digits = "".join(map(str, digit_tuple))
    sign = "-" if number < 0 else ""
    point = len(digits) + exponent
    if len(digits) <= point <= _PLAIN_DIGITS_MAX:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= _PLAIN_DIGITS_MAX:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _SMALL_EXPONENT < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    mantissa = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{sign}{mantissa}e{point - 1:+d}"


def strict_equal(left: Any, right: Any) -> bool:
    """Answer ``===``."""
    kind = type_of(left)
    if kind != type_of(right):
        return False
    if kind == "number":
        return to_number(left) == to_number(right)
    if kind == "object":
        return left is right
    return bool(left == right)


def loose_equal(left: Any, right: Any) -> bool:
    """Answer ``==``."""
    left_kind, right_kind = type_of(left), type_of(right)
    left_absent = left is None or left is UNDEFINED
    right_absent = right is None or right is UNDEFINED
    if left_absent or right_absent:
        return left_absent and right_absent
    if left_kind == right_kind:
        return strict_equal(left, right)
    if left_kind == "object":
        # A boolean on the other side becomes a number first, an object a primitive next.
        return loose_equal(to_primitive(left), right)
    if right_kind == "object":
        return loose_equal(left, to_primitive(right))
    return to_number(left) == to_number(right)


def add(left: Any, right: Any) -> Any:
    """Answer ``+``: text when one side is text, else a number."""
    left, right = to_primitive(left), to_primitive(right)
    if type(left) is not str and type(right) is not str:
        return float(to_number(left)) + float(to_number(right))
    text = _primitive_text(left) + _primitive_text(right)
    if len(text) > CHARACTERS_MAX:
        raise NotSimpleError(f"a text grows beyond {CHARACTERS_MAX=}")
    return text


def _divide(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _remainder(left: float, right: float) -> float:
    return math.nan if right == 0 or math.isinf(left) else math.fmod(left, right)


def _arithmetic(operate: Callable[[float, float], float]) -> Callable[[Any, Any], float]:
    return lambda left, right: operate(float(to_number(left)), float(to_number(right)))


def _relation(
    numbers: Callable[[Any, Any], bool], texts: Callable[[Any, Any], bool]
) -> Callable[[Any, Any], bool]:
    def relate(left: Any, right: Any) -> bool:
        left, right = to_primitive(left), to_primitive(right)
        if type(left) is str and type(right) is str:
            return texts(code_units(left), code_units(right))
        return numbers(to_number(left), to_number(right))

    return relate


def code_units(text: str) -> bytes:
    """Give a text's UTF-16 code units, two bytes each, in the order in which they compare."""
    return text.encode("utf-16-be", "surrogatepass")


OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": loose_equal,
    "!=": lambda left, right: not loose_equal(left, right),
    "===": strict_equal,
    "!==": lambda left, right: not strict_equal(left, right),
    "<": _relation(lambda a, b: a < b, lambda a, b: a < b),
    "<=": _relation(lambda a, b: a <= b, lambda a, b: a <= b),
    ">": _relation(lambda a, b: a > b, lambda a, b: a > b),
    ">=": _relation(lambda a, b: a >= b, lambda a, b: a >= b),
    "+": add,
    "-": _arithmetic(lambda a, b: a - b),
    "*": _arithmetic(lambda a, b: a * b),
    "/": _arithmetic(_divide),
    "%": _arithmetic(_remainder),
}


def to_result(value: Any) -> Any:
    """Turn a value into JSON's terms as ``JSON.stringify`` would; 1.0 becomes 1.

    undefined is None, or absent inside an object.

    Raises:
        NotSimpleError: the value is deeper than NESTING_MAX.
    """
    return _result(value, 0)


def _result(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) <= _EXACT_MAX else value
    if value is UNDEFINED:
        return None
    if kind is not list and kind is not dict:
        return value
    if depth > NESTING_MAX:
        raise NotSimpleError(f"a result nests deeper than {NESTING_MAX=}")
    if kind is list:
        return [_result(item, depth + 1) for item in value]
    return {k: _result(v, depth + 1) for k, v in value.items() if v is not UNDEFINED}
