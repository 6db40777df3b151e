"""`${...}`, JavaScript and jq as Conductor means them, without the engine's own code.

Only what the recorded definitions use: dotted paths, places in lists, ``..`` and the length of a
list. Source: semantics e.
"""

import json
import re
from typing import Any

import jq
import quickjs

EXPRESSION = re.compile(r"\$\{([^{}]*)\}")
STEP = re.compile(r"\.\.?[\w-]+(?:\(\))?|\[\d+\]|\['[^']*'\]")


class ScriptError(Exception):
    """A script threw, or a jq program failed."""


def resolve(value: Any, root: dict[str, Any]) -> Any:
    """Replace every expression; a whole one keeps the value's type, keys stay as they are."""
    if isinstance(value, dict):
        return {key: resolve(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, root) for item in value]
    if not isinstance(value, str):
        return value
    whole = EXPRESSION.fullmatch(value)
    if whole:
        return look_up(whole[1], root)
    return EXPRESSION.sub(lambda found: _text(look_up(found[1], root)), value)


def look_up(path: str, root: dict[str, Any]) -> Any:
    """Return what a path leads to; None for what is not there."""
    found: Any = root
    for step in STEP.findall(f".{path}"):
        if step.startswith(".."):
            return list(_anywhere(found, step[2:]))
        if step.endswith("()"):
            return len(found) if isinstance(found, list | dict) else None
        key: Any = step[1:] if step[0] == "." else step[1:-1].strip("'")
        if isinstance(found, list) and key.isdigit():
            found = found[int(key)] if int(key) < len(found) else None
        else:
            found = found.get(key) if isinstance(found, dict) else None
    return found


def _anywhere(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _anywhere(item, key)


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def javascript(source: str, given: Any, *, is_body: bool = False) -> Any:
    """Return the value of a script whose `$` is given; of a LAMBDA it is a function's body."""
    if is_body:
        source = f"(function () {{ {source} }})()"
    context = quickjs.Context()
    try:
        context.eval(f"var $ = {json.dumps(given)}")
        value = context.eval(source)
    except quickjs.JSException as error:
        raise ScriptError(str(error)) from error
    return json.loads(value.json()) if isinstance(value, quickjs.Object) else value


def jq_first(program: str, given: Any) -> Any:
    """Return the first value of a jq program."""
    try:
        return jq.compile(program).input_value(given).first()
    except (ValueError, StopIteration) as error:
        raise ScriptError(str(error)) from error
