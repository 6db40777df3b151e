"""Path expressions: from a payload, the trigger's payload and earlier steps to a value, and back.

Source: S3.3. `$.a.b`, `.a.b` and `a.b` are the same; a number or `[n]` is a place in a list; what
is not there is None.
"""

import re
from collections.abc import Mapping
from typing import Any

_INDEX = re.compile(r"\[(\d+)\]")
INITIAL, STEPS = "initialPayload", "steps"


def keys_of(path: str | None) -> list[str]:
    """Return the keys of a path; none for the whole payload (absent, empty, `$`, `$.`, `.`)."""
    text = _INDEX.sub(r".\1", (path or "").strip())
    text = text.removeprefix("$").removeprefix(".")
    return text.split(".") if text else []


def value_at(
    path: str | None, payload: Any, *, initial: Any, steps: Mapping[str, Mapping[str, Any]]
) -> Any:
    """Return what a path means.

    A first key that the payload does not have may be `initialPayload`, the trigger's payload, or
    `steps`: of a step that has ended its `input`, `output`, `status` or `error`.
    """
    keys = keys_of(path)
    found = payload
    if keys and not _has(payload, keys[0]):
        if keys[0] == INITIAL:
            found, keys = initial, keys[1:]
        elif keys[0] == STEPS:
            found, keys = steps, keys[1:]
    for key in keys:
        found = _child(found, key)
    return found


def with_result(path: str | None, payload: Any, result: Any) -> Any:
    """Return the payload with a step's result put in; the payload given stays as it is.

    Without a path an object is laid over the payload and anything else takes its place. With one
    the objects on the way are made, over whatever else is there.
    """
    keys = keys_of(path)
    if not keys:
        both = isinstance(payload, dict) and isinstance(result, dict)
        return {**payload, **result} if both else result
    return _put(payload, keys, result)


def step_named(path: str | None) -> str | None:
    """Return the step that a path reads, when it reads one."""
    keys = keys_of(path)
    return keys[1] if len(keys) > 1 and keys[0] == STEPS else None


def _put(payload: Any, keys: list[str], result: Any) -> dict[str, Any]:
    inner = payload if isinstance(payload, dict) else {}
    key, *rest = keys
    return {**inner, key: _put(inner.get(key), rest, result) if rest else result}


def _has(value: Any, key: str) -> bool:
    return isinstance(value, dict) and key in value


def _child(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return None
