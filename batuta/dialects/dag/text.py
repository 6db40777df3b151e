"""Paths into a payload, and the `{{ path }}` templates of nodes. Source: S1.3."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from batuta.core.expression.javascript import UNDEFINED, to_text

_PLACE = re.compile(r"\{\{([^{}]{1,1000})\}\}")
_STEP = re.compile(r"[^.\[\]]+")


def value_at(payload: Any, path: str) -> Any:
    """Return what `a.b[0].c` names in a payload, UNDEFINED where there is nothing."""
    found = payload
    for step in _STEP.findall(path):
        key = step.strip().strip("'\"")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return UNDEFINED
    return found


def rendered(template: str, payload: Any, shown: Callable[[str], str] = str) -> str:
    """Return a template with its places filled: nothing for what is missing, objects as JSON.

    Args:
        shown: What is done to each value's text, as encoding it for a URL.
    """
    return _PLACE.sub(lambda place: shown(_text(value_at(payload, place[1].strip()))), template)


def filled(value: Any, payload: Any) -> Any:
    """Return a JSON value with every text in it rendered."""
    if isinstance(value, str):
        return rendered(value, payload)
    if isinstance(value, dict):
        return {key: filled(item, payload) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, payload) for item in value]
    return value


def _text(value: Any) -> str:
    if value is None or value is UNDEFINED:
        return ""
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    return to_text(value)
