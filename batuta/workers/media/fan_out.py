"""What a list in a node's config means: one call for each element, or one call with all. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from batuta.workers.media.nodes import NodeType, list_keys

CALLS_MAX = 500  # of one node: each is a request that somebody pays for
PROMPTS = ("prompt", "prompt2", "prompt3", "prompt4")
UNEQUAL_ARRAYS = "Array inputs must be the same length"
UNEQUAL_PROMPTS = "Prompt arrays must be the same length"
_OWN = ("items", "itemsCount", "nodeType")  # keys of the node's output that no call can give

Config = dict[str, Any]


class FanOutError(Exception):
    """The lists of a config do not go together."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The calls that a node makes.

    ``count``: of the elements; None when no key is a list. ``is_parallel``: all calls at once,
    else one after the other. ``is_aggregated``: one call with all elements.
    """

    configs: tuple[Config, ...]
    count: int | None = None
    is_parallel: bool = False
    is_aggregated: bool = False


def plan(node: NodeType, config: Config, execution: Any) -> Plan:
    """Say which calls a config asks for.

    Args:
        execution: ``{mode, waitForAll, aggregateItems}``; what is missing is off, and sequential.

    Raises:
        FanOutError: Lists differ in length, or are too long.
    """
    config = join_prompts(config)
    how = execution if isinstance(execution, Mapping) else {}
    kept = list_keys(node, config)
    lists = {
        key: value for key, value in config.items() if isinstance(value, list) and key not in kept
    }
    if not lists:
        return Plan(configs=(config,))
    count = _length(lists.values(), UNEQUAL_ARRAYS)
    configs = tuple(
        {**config, **{key: value[index] for key, value in lists.items()}} for index in range(count)
    )
    if how.get("waitForAll") is True and how.get("aggregateItems") is True:
        scalars = {key: value for key, value in config.items() if key not in lists}
        whole = {**scalars, "items": list(configs)}
        return Plan(configs=(whole,), count=count, is_aggregated=True)
    return Plan(configs=configs, count=count, is_parallel=how.get("mode") == "parallel")


def join_prompts(config: Config) -> Config:
    """Return a config whose prompts are one, with a blank line between, where it asks for that.

    Lists are joined element by element; a text goes to every element.

    Raises:
        FanOutError: Lists of prompts differ in length.
    """
    if config.get("concatPrompts") is not True:
        return config
    given = [config[key] for key in PROMPTS if config.get(key)]
    lists = [value for value in given if isinstance(value, list)]
    joined: Any
    if lists:
        count = _length(lists, UNEQUAL_PROMPTS)
        rows = [[_at(value, index) for value in given] for index in range(count)]
        joined = [_joined(row) for row in rows]
    else:
        joined = _joined(given)
    rest = {key: value for key, value in config.items() if key not in PROMPTS}
    return {**rest, "prompt": joined} if given else rest


def merged(node: NodeType, asked: Plan, outputs: Sequence[Config]) -> Config:
    """Return the node's output from those of its calls, in the order of the plan."""
    if asked.count is None:
        return {**outputs[0], "nodeType": node.name}
    if asked.is_aggregated:
        return {**outputs[0], "itemsCount": asked.count, "nodeType": node.name}
    keys = dict.fromkeys(key for output in outputs for key in output if key not in _OWN)
    columns = {key: [output.get(key) for output in outputs] for key in keys}
    counted = {"itemsCount": asked.count, "nodeType": node.name}
    return {"items": list(outputs), **columns, **counted}


def with_last_outputs(node: NodeType, config: Config, previous: Sequence[Any]) -> Config:
    """Return a config whose empty keys have the last output of that kind of an earlier node.

    Args:
        previous: ``{output: {...}}`` of the earlier nodes, oldest first.
    """
    filled = dict(config)
    outputs = [one.get("output") for one in previous if isinstance(one, Mapping)]
    for key, name in node.last_of.items():
        found = [out[name] for out in outputs if isinstance(out, Mapping) and out.get(name)]
        if found and not filled.get(key):
            filled[key] = _flat(found) if key in node.lists and key != name else found[-1]
    return filled


def _length(lists: "Sequence[list[Any]] | Any", message: str) -> int:
    lengths = {len(value) for value in lists}
    if len(lengths) > 1:
        raise FanOutError(message)
    count: int = lengths.pop()
    if count > CALLS_MAX:
        raise FanOutError(f"a list has {count} elements; a node makes {CALLS_MAX} calls at most")
    return count


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, list) else value


def _joined(parts: Sequence[Any]) -> str:
    return "\n\n".join(str(part) for part in parts if part not in (None, ""))


def _flat(values: Sequence[Any]) -> list[Any]:
    return [
        one for value in values for one in (value if isinstance(value, list) else [value]) if one
    ]
