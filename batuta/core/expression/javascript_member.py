"""What a JavaScript value has: its properties, and the pure methods of texts and lists."""

import math
import re
from collections.abc import Callable
from typing import Any, Final

from batuta.core.expression.javascript import (
    SPACE,
    UNDEFINED,
    NotSimpleError,
    ScriptError,
    code_units,
    strict_equal,
    to_text,
)

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What an object without an own property of that name inherits ...
INHERITED: Final = _names(
    "toString toLocaleString valueOf hasOwnProperty isPrototypeOf propertyIsEnumerable __proto__ "
    "__defineGetter__ __defineSetter__ __lookupGetter__ __lookupSetter__ constructor"
)
# ... and what the other types have beyond that.
PROTOTYPES: Final[dict[type, frozenset[str]]] = {
    bool: INHERITED,
    int: INHERITED | {"toExponential", "toFixed", "toPrecision"},
    float: INHERITED | {"toExponential", "toFixed", "toPrecision"},
    str: INHERITED
    | _names(
        "at charCodeAt charAt concat codePointAt isWellFormed toWellFormed indexOf lastIndexOf "
        "includes endsWith startsWith match matchAll search split substring substr slice repeat "
        "replace replaceAll padEnd padStart trim trimEnd trimRight trimStart trimLeft normalize "
        "localeCompare toLowerCase toUpperCase toLocaleLowerCase toLocaleUpperCase anchor big "
        "blink bold fixed fontcolor fontsize italics link small strike sub sup"
    ),
    list: INHERITED
    | _names(
        "at with concat every some forEach map filter reduce reduceRight fill find findIndex "
        "findLast findLastIndex indexOf lastIndexOf includes join pop push shift unshift reverse "
        "toReversed sort toSorted slice splice toSpliced copyWithin flatMap flat values keys "
        "entries"
    ),
}


def member(value: Any, key: Any) -> Any:
    """Answer ``value[key]``.

    Raises:
        ScriptError: value is null or undefined.
        NotSimpleError: the property is inherited, or half of a surrogate pair.
    """
    if value is None or value is UNDEFINED:
        shown = to_text(value)
        raise ScriptError(f"TypeError: Cannot read property '{to_text(key)}' of {shown}")
    name = key if type(key) is str else to_text(key)
    if type(value) is dict:
        if name in value:
            return value[name]
        if name in INHERITED:
            raise NotSimpleError(f"the inherited property {name!r}")
        return UNDEFINED
    if type(value) in (list, str):
        if name == "length":
            return _length(value)
        if _INDEX.fullmatch(name):
            return _at(value, int(name))
    if name in PROTOTYPES[type(value)]:
        raise NotSimpleError(f"the inherited property {name!r}")
    return UNDEFINED


def _length(value: list[Any] | str) -> int:
    return len(code_units(value)) // 2 if isinstance(value, str) else len(value)


def _at(value: list[Any] | str, index: int) -> Any:
    if isinstance(value, str) and _length(value) != len(value):
        raise NotSimpleError("an index into a text with characters beyond U+FFFF")
    return value[index] if index < len(value) else UNDEFINED


def _same_or_nan(left: Any, right: Any) -> bool:
    if type(left) is float and type(right) is float and math.isnan(left) and math.isnan(right):
        return True
    return strict_equal(left, right)


def _text_index(text: str, part: Any) -> int:
    found = text.find(to_text(part))
    return found if found <= 0 else _length(text[:found])


def _list_index(items: list[Any], wanted: Any) -> int:
    return next((i for i, item in enumerate(items) if strict_equal(item, wanted)), -1)


# Methods by name: how many arguments, and the meaning for texts and for lists.
METHODS: Final[dict[str, tuple[int, Callable[..., Any], Callable[..., Any] | None]]] = {
    "includes": (
        1,
        lambda text, part: to_text(part) in text,
        lambda items, wanted: any(_same_or_nan(item, wanted) for item in items),
    ),
    "indexOf": (1, _text_index, _list_index),
    "startsWith": (1, lambda text, part: text.startswith(to_text(part)), None),
    "endsWith": (1, lambda text, part: text.endswith(to_text(part)), None),
    "toLowerCase": (0, str.lower, None),
    "toUpperCase": (0, str.upper, None),
    "trim": (0, lambda text: text.strip(SPACE), None),
}


def call(value: Any, name: str, arguments: list[Any]) -> Any:
    """Call one of METHODS on a value.

    Raises:
        ScriptError: value has no such method.
    """
    _, of_text, of_list = METHODS[name]
    if value is None or value is UNDEFINED:
        member(value, name)
    if type(value) is str:
        return of_text(value, *arguments)
    if type(value) is list and of_list is not None:
        return of_list(value, *arguments)
    raise ScriptError(f"TypeError: {name} is not a function")
