"""Runs started by a run: SUB_WORKFLOW waits for its child, START_WORKFLOW does not.

Source: semantics.md c.8, c.9.
"""

from typing import Any

import msgspec

from batuta.core.definition.normalize import to_document
from batuta.core.draft import Draft
from batuta.core.expression.template import TemplateError
from batuta.core.graph import Node
from batuta.core.scope import RunScope, task_input
from batuta.core.tasks.attempt import (
    Attempt,
    create,
    delay_fields,
    input_of,
    start_or_delay,
)
from batuta.model.change import Failure, NeedDefinition, PinnedDefinition
from batuta.model.command import StartWorkflow
from batuta.model.definition import WorkflowDef
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import Payload

PRIORITY_MAX = 99
# Runs inside runs. OSS has no bound: a workflow that starts itself goes on until the disk is full.
CHILD_DEPTH_MAX = 100


class _Target(msgspec.Struct, frozen=True):
    """Which run to start."""

    name: str
    version: int
    priority: int
    task_to_domain: dict[str, str]
    definition: msgspec.Raw | None
    """What the task brings along instead of a registered one, as JSON."""


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the task and start its child, now or after its delay."""
    node, task_id = attempt.node, draft.new_id()
    try:
        target = _target(draft, node)
        workflow_input = input_of(draft, attempt, task_id)
    except (TemplateError, ValueError) as error:
        task = create(draft, attempt, task_id=task_id)
        if task is not None:
            draft.end(task, TaskStatus.FAILED, reason=str(error))
        return
    about_child = {
        "subWorkflowName": target.name,
        "subWorkflowVersion": target.version,
        "subWorkflowTaskToDomain": target.task_to_domain,
        "priority": target.priority,
        "workflowInput": msgspec.Raw(workflow_input.raw or b"{}"),
    }
    if target.definition is not None:
        about_child["subWorkflowDefinition"] = target.definition
    task = create(draft, attempt, extra_input=about_child, task_id=task_id, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start(draft, task)


def start(draft: Draft, task: Task) -> None:
    """Send the start of the child; the task is in progress until the child answers."""
    values: dict[str, Any] = task_input(draft, task).value
    if draft.wanted:
        return  # its input is not in memory yet; this draft is thrown away
    if draft.workflow.depth >= CHILD_DEPTH_MAX:
        reason = f"sub-workflows nest deeper than {CHILD_DEPTH_MAX} levels; does one start itself?"
        status = TaskStatus.FAILED_WITH_TERMINAL_ERROR
        draft.end(task, status, started_at_ms=draft.now_ms, reason=reason)
        return
    name, version = values["subWorkflowName"], values["subWorkflowVersion"]
    inline = values.get("subWorkflowDefinition")
    inline_text = msgspec.json.encode(inline).decode() if inline else ""
    pinned = draft.answer(NeedDefinition(name, version, inline_text))
    if pinned is None:
        return
    if isinstance(pinned, Failure):
        draft.end(task, TaskStatus.FAILED, started_at_ms=draft.now_ms, reason=pinned.message)
        return
    assert isinstance(pinned, PinnedDefinition), "a definition is answered by its snapshot"
    child_id = draft.new_id()
    workflow = draft.workflow
    own_input = values.get("workflowInput")
    draft.put(
        task,
        status=TaskStatus.IN_PROGRESS,
        started_at_ms=draft.now_ms,
        child_id=child_id,
        output=Payload.of({"subWorkflowId": child_id}),
    )
    draft.send(
        StartWorkflow(
            workflow_id=child_id,
            name=name,
            definition=pinned.definition,
            definition_version=pinned.version,
            input=_child_input(draft, task, own_input, is_inline=bool(inline)),
            correlation_id=workflow.correlation_id,
            priority=values.get("priority") or 0,
            task_to_domain=values.get("subWorkflowTaskToDomain") or workflow.task_to_domain,
            parent_id=workflow.workflow_id,
            parent_task_id=task.task_id,
            dialect=workflow.dialect,
            depth=workflow.depth + 1,
        )
    )


def _child_input(draft: Draft, task: Task, own: Any, *, is_inline: bool) -> Payload:
    """Return the child's input; an empty one means the whole task input (gotchas.md 37).

    One whose definition the task brings along is marked. Source: semantics.md c.8.
    """
    if not is_inline:
        return Payload.of(own) if own else task_input(draft, task)
    marked = {"_systemMetadata": {"dynamic": True}}
    return Payload.of({**(own or task_input(draft, task).value), **marked})


def begin_start(draft: Draft, attempt: Attempt) -> None:
    """Create a START_WORKFLOW and start its run, now or after its delay."""
    task = create(draft, attempt, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start_apart(draft, task)


def start_apart(draft: Draft, task: Task) -> None:
    """Send the start of a run that nobody waits for; ``workflowId`` is its id.

    correlationId and taskToDomain are this run's when the request has none. A request that
    cannot be met fails the task. Source: semantics.md c.9 START_WORKFLOW.
    """
    given = task_input(draft, task).value
    request = given.get("startWorkflow") if isinstance(given, dict) else None
    try:
        need, values = _start_request(request)
    except ValueError as error:
        draft.end(task, TaskStatus.FAILED, started_at_ms=draft.now_ms, reason=str(error))
        return
    pinned = draft.answer(need)
    if pinned is None:
        return
    if isinstance(pinned, Failure):
        draft.end(task, TaskStatus.FAILED, started_at_ms=draft.now_ms, reason=pinned.message)
        return
    assert isinstance(pinned, PinnedDefinition), "a definition is answered by its snapshot"
    started_id, workflow = draft.new_id(), draft.workflow
    draft.send(
        StartWorkflow(
            workflow_id=started_id,
            name=need.name,
            definition=pinned.definition,
            definition_version=pinned.version,
            input=Payload.of(values.get("input") or {}),
            correlation_id=values.get("correlationId") or workflow.correlation_id,
            priority=min(
                max(_number(values.get("priority"), "startWorkflow.priority"), 0), PRIORITY_MAX
            ),
            task_to_domain=values.get("taskToDomain") or workflow.task_to_domain,
        )
    )
    output = Payload.of({"workflowId": started_id})
    draft.end(task, TaskStatus.COMPLETED, started_at_ms=draft.now_ms, output=output, reason=None)


def _start_request(request: Any) -> tuple[NeedDefinition, dict[str, Any]]:
    """Return which definition a StartWorkflowRequest wants, and the request, checked."""
    if not isinstance(request, dict):
        raise ValueError(  # noqa: TRY004 - a fault of the run's data, which fails its task
            f"startWorkflow {request!r} is not a start request; name a workflow"
        )
    inline = request.get("workflowDef")
    name = request.get("name") or (inline.get("name") if isinstance(inline, dict) else None)
    if not isinstance(name, str) or not name:
        raise ValueError("startWorkflow names no workflow; set startWorkflow.name")
    for key, kind in (("input", dict), ("taskToDomain", dict), ("correlationId", str)):
        value = request.get(key)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"startWorkflow.{key} {value!r} has the wrong type")
    _number(request.get("priority"), "startWorkflow.priority")
    text = msgspec.json.encode(inline).decode() if inline else ""
    version = _number(request.get("version"), "startWorkflow.version")
    return NeedDefinition(name, version, text), request


def _target(draft: Draft, node: Node) -> _Target:
    """Resolve which child is meant."""
    resolved = node.child_template.resolve(RunScope(draft))
    definition = _inline(node, resolved["definition"])
    name = resolved["name"] or (definition or {}).get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"SUB_WORKFLOW {node.reference_name!r} names no workflow; set subWorkflowParam.name"
        )
    return _Target(
        name,
        _number(resolved["version"], "subWorkflowParam.version"),
        min(max(_number(resolved["priority"], "subWorkflowParam.priority"), 0), PRIORITY_MAX),
        resolved["taskToDomain"] or {},
        None if definition is None else msgspec.Raw(msgspec.json.encode(definition)),
    )


def _inline(node: Node, resolved: Any) -> dict[str, Any] | None:
    """Return the definition that the task brings along, from itself or by an expression."""
    params = node.task.sub_workflow_param
    given = params.workflow_definition if params else None
    if given is None:
        return None
    if isinstance(given, WorkflowDef):
        return to_document(given)
    if not isinstance(resolved, dict):
        raise ValueError(  # noqa: TRY004 - a fault of the run's data, which fails its task
            f"subWorkflowParam.workflowDefinition {given!r} gives {resolved!r}, "
            "which is no workflow definition; let it give an object"
        )
    return resolved


def _number(value: Any, name: str) -> int:
    if value in (None, ""):
        return 0
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} {value!r} is not a number") from None
