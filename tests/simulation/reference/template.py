"""``${...}`` as semantics.md e has it, for the paths that random definitions use."""

import re
from collections.abc import Callable
from typing import Any

_WHOLE = re.compile(r"\$\{([^{}]*)\}")


def resolve(value: Any, look_up: Callable[[str], Any]) -> Any:
    """Return a template's value; ``look_up`` gives that of a path, None for what is missing."""
    if isinstance(value, dict):
        return {key: resolve(inner, look_up) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, look_up) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _WHOLE.fullmatch(value)
    if whole is not None:
        return look_up(whole[1])
    return _WHOLE.sub(lambda found: text(look_up(found[1])), value)


def text(value: Any) -> str:
    """Return how a value reads inside a text; objects are not among what definitions say so."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def step(root: Any, path: str) -> Any:
    """Walk a dotted path through objects; None for what is missing."""
    for part in path.split("."):
        if not isinstance(root, dict):
            return None
        root = root.get(part)
    return root
