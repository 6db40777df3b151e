"""Does the task of a node: the payload from before, what the node makes of it, where to go on."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from batuta.core.expression.javascript import UNDEFINED
from batuta.dialects.base import worker_of
from batuta.dialects.dag.call import Caller
from batuta.dialects.dag.logic import LogicError, evaluate, holds
from batuta.dialects.dag.lower import TASKS, delay_ms
from batuta.dialects.dag.text import rendered, value_at
from batuta.model.execution import TaskStatus
from batuta.workers.function import TaskContext, TaskFunction
from batuta.workers.outcome import Outcome

CONCURRENCY = 64  # nodes of all runs at once; most of them wait for an answer


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a node gave: the payload for those behind it, the handles that fire, its log line."""

    payload: Any
    kind: str
    content: str
    handles: tuple[str, ...] = ()


_Node = Callable[[dict[str, Any], Any, Caller], Awaitable[Done]]


def node_function(caller: Caller, *, concurrency: int = CONCURRENCY) -> TaskFunction:
    """Make the worker of all nodes; inside a server, or in a process of its own."""

    async def do(task: TaskContext) -> Outcome:
        return await _run(task, caller)

    return worker_of(TASKS, do, concurrency=concurrency)


async def _run(task: TaskContext, caller: Caller) -> Outcome:
    given = task.input
    node = _NODES.get(str(given.get("type")))
    if node is None:
        return _failed(f"node type {given.get('type')!r} is unknown", is_final=True)
    payload = merged(given.get("before") or [])
    try:
        done = await node(given.get("config") or {}, payload, caller)
    except LogicError as error:
        return _failed(str(error))
    output = {
        "payload": done.payload,
        "handles": done.handles,
        "log": {"kind": done.kind, "content": done.content},
    }
    return Outcome(status=TaskStatus.COMPLETED, output=msgspec.json.encode(output))


def merged(before: list[dict[str, Any]]) -> Any:
    """Return one payload of those that came by edges that were taken: objects laid over another.

    Of values that are no objects the last counts, and only where there is no object.
    """
    came = [
        one["payload"]
        for one in before
        if one.get("payload") is not None
        and (one.get("wanted") is None or set(one["wanted"]) & set(one.get("handles") or ()))
    ]
    objects = [payload for payload in came if isinstance(payload, dict)]
    if not objects:
        return came[-1] if came else {}
    return {key: value for payload in objects for key, value in payload.items()}


def _failed(reason: str, *, is_final: bool = False) -> Outcome:
    failed, final = TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR
    return Outcome(status=final if is_final else failed, reason=reason)


async def _input(_: dict[str, Any], payload: Any, __: Caller) -> Done:
    return Done(payload=payload, kind="input", content=_json(payload))


async def _api(config: dict[str, Any], payload: Any, caller: Caller) -> Done:
    found = await caller.call(config, payload)
    method = str(config.get("method") or "GET").upper()
    said = f"{method} {found['status']} {found.get('error') or found['statusText']}".strip()
    return Done(payload=found, kind="api" if found["success"] else "api-error", content=said)


async def _decision(config: dict[str, Any], payload: Any, _: Caller) -> Done:
    listed = [one for one in config.get("decisions") or () if isinstance(one, dict)]
    matches = [str(one.get("id")) for one in listed if _matches(one, payload)]
    content = f"Matched: {', '.join(matches)}" if matches else "No match"
    handles = tuple(f"out-{one}" for one in matches)
    return Done(payload=payload, kind="decision", content=content, handles=handles)


async def _if_else(config: dict[str, Any], payload: Any, _: Caller) -> Done:
    condition = config.get("condition")
    is_true = isinstance(condition, dict) and _matches(condition, payload)
    label = config.get("trueLabel" if is_true else "falseLabel") or str(is_true).lower()
    handle = "out-true" if is_true else "out-false"
    return Done(payload=payload, kind="decision", content=str(label), handles=(handle,))


async def _delay(config: dict[str, Any], payload: Any, _: Caller) -> Done:
    waits_ms = delay_ms(config)
    inner = payload if isinstance(payload, dict) else {"value": payload}
    content = f"Delaying what follows by {waits_ms} ms"
    return Done(payload={**inner, "delayMs": waits_ms}, kind="delay", content=content)


async def _notification(config: dict[str, Any], payload: Any, _: Caller) -> Done:
    text = rendered(str(config.get("template") or ""), payload)
    return Done(payload=payload, kind="notification", content=text)


def _matches(condition: dict[str, Any], payload: Any) -> bool:
    """Say whether a condition holds: one predicate, or several that are combined by all or any."""
    predicates = condition.get("predicates")
    if not isinstance(predicates, list):
        return "targetField" in condition and _is_met(condition, payload)
    met = [_is_met(one, payload) for one in predicates if isinstance(one, dict)]
    return any(met) if condition.get("combiner") == "any" else bool(met) and all(met)


def _is_met(predicate: dict[str, Any], payload: Any) -> bool:
    value = value_at(payload, str(predicate.get("targetField") or ""))
    value = None if value is UNDEFINED else value
    logic = predicate.get("validationLogic")
    return holds(value if logic is None else evaluate(logic, {"value": value}))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_NODES: dict[str, _Node] = {
    "inputText": _input,
    "apiCall": _api,
    "decision": _decision,
    "ifElse": _if_else,
    "delay": _delay,
    "notification": _notification,
}
