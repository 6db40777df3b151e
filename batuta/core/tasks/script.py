"""INLINE, LAMBDA and JSON_JQ_TRANSFORM: a program of the definition, given the task's input.

Source: semantics.md c.9, gotchas.md 43. A program that fails ends the task, never the engine;
its message is the task's reason and its output's ``error``.
"""

from typing import Any

import msgspec

from batuta.core.condition import Refused, evaluate
from batuta.core.draft import Draft
from batuta.core.scope import task_input
from batuta.core.tasks.attempt import Attempt, create, delay_fields, start_or_delay
from batuta.model.change import Failure, NeedJq
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import Payload

_SCRIPT_EVALUATORS = frozenset({"javascript", "graaljs"})


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the task and run its program, now or after the delay of a retry."""
    task = create(draft, attempt, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start(draft, task)


def start(draft: Draft, task: Task) -> None:
    """Run the program of a task whose delay is over, and end the task by what it gives."""
    node = draft.execution.graph.node_of(task)
    found = task_input(draft, task).value
    values = found if isinstance(found, dict) else {}
    if node.type == "JSON_JQ_TRANSFORM":
        _transform(draft, task, values)
        return
    if node.type == "LAMBDA":
        source = values.get("scriptExpression", node.task.script_expression)
        value = _lambda(draft, source, values)
        failed = TaskStatus.FAILED
    else:
        value = _inline(draft, values)
        # A script that is wrong stays wrong; one that took too long may be tried again.
        is_late = isinstance(value, Refused) and value.is_late
        failed = TaskStatus.FAILED if is_late else TaskStatus.FAILED_WITH_TERMINAL_ERROR
    if isinstance(value, Refused):
        _fail(draft, task, failed, value.message)
    else:
        _complete(draft, task, {"result": value})


def _inline(draft: Draft, values: dict[str, Any]) -> Any:
    evaluator = values.get("evaluatorType") or "javascript"
    source = values.get("expression")
    if not isinstance(source, str) or not source.strip():
        return Refused("an INLINE task has no expression; write a script into its input")
    if evaluator == "value-param":
        return values.get(source)
    if evaluator in _SCRIPT_EVALUATORS:
        return evaluate(draft, source, values)
    return Refused(f"evaluatorType {evaluator!r} is unknown; use javascript or value-param")


def _lambda(draft: Draft, source: object, values: dict[str, Any]) -> Any:
    if not isinstance(source, str) or not source.strip():
        return Refused("a LAMBDA task has no scriptExpression; write a script into its input")
    # On lines of its own, so that a comment at its end hides nothing.
    return evaluate(draft, f"(function () {{\n{source}\n}})()", values)


def _transform(draft: Draft, task: Task, values: dict[str, Any]) -> None:
    program = values.get("queryExpression")
    if not isinstance(program, str) or not program.strip():
        reason = "a JSON_JQ_TRANSFORM task has no queryExpression; write a jq program"
        _fail(draft, task, TaskStatus.FAILED, reason)
        return
    found = draft.answer(NeedJq(program, msgspec.json.encode(values)))
    if isinstance(found, Failure):
        _fail(draft, task, TaskStatus.FAILED, found.message)
    elif isinstance(found, Payload):
        results: list[msgspec.Raw] = msgspec.json.decode(found.raw or b"[]", type=list[msgspec.Raw])
        first = results[0] if results else None
        _complete(draft, task, {"result": first, "resultList": results})


def _complete(draft: Draft, task: Task, output: dict[str, Any]) -> None:
    payload, now_ms = Payload.of(output), draft.now_ms
    draft.end(task, TaskStatus.COMPLETED, started_at_ms=now_ms, output=payload, reason=None)


def _fail(draft: Draft, task: Task, status: TaskStatus, reason: str) -> None:
    output = Payload.of({"error": reason})
    draft.end(task, status, started_at_ms=draft.now_ms, output=output, reason=reason)
