"""SUB_WORKFLOW: a run started by a run. Source: semantics.md c.8."""

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
    resolve_input,
    start_or_delay,
)
from batuta.model.change import Failure, NeedDefinition, PinnedDefinition
from batuta.model.command import StartWorkflow
from batuta.model.definition import WorkflowDef
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import Payload

PRIORITY_MAX = 99


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
    node = attempt.node
    try:
        target = _target(draft, node)
        workflow_input = resolve_input(draft, node, None)
    except (TemplateError, ValueError) as error:
        task = create(draft, attempt)
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
    task = create(draft, attempt, extra_input=about_child, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start(draft, task)


def start(draft: Draft, task: Task) -> None:
    """Send the start of the child; the task is in progress until the child answers."""
    values: dict[str, Any] = task_input(draft, task).value
    if draft.wanted:
        return  # its input is not in memory yet; this draft is thrown away
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
            # An empty input means the whole task input (gotchas.md 37).
            input=Payload.of(own_input) if own_input else task_input(draft, task),
            correlation_id=workflow.correlation_id,
            priority=values.get("priority") or 0,
            task_to_domain=values.get("subWorkflowTaskToDomain") or workflow.task_to_domain,
            parent_id=workflow.workflow_id,
            parent_task_id=task.task_id,
        )
    )


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
        _number(resolved["version"], "version"),
        min(max(_number(resolved["priority"], "priority"), 0), PRIORITY_MAX),
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
        raise ValueError(f"subWorkflowParam.{name} {value!r} is not a number") from None
