"""From a run of the engine to an instance, in the words of this dialect. Source: S3.2."""

from typing import Any

import msgspec

from batuta.dialects.nest import moment
from batuta.dialects.steps.lower import FUNCTION
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.view import RunView, TaskView

_WORDS = {
    WorkflowStatus.RUNNING: "RUNNING",
    WorkflowStatus.PAUSED: "RUNNING",
    WorkflowStatus.COMPLETED: "COMPLETED",
    WorkflowStatus.FAILED: "FAILED",
    WorkflowStatus.TIMED_OUT: "TIMED_OUT",
    WorkflowStatus.TERMINATED: "CANCELLED",
}


def instance(run: RunView) -> dict[str, Any]:
    """Return an instance as it is shown."""
    given = decoded(run.input)
    steps = [view for view in run.tasks if view.task.task_type == FUNCTION]
    shown = {
        "instanceId": run.workflow.workflow_id,
        "workflowDefinitionId": given.get("definitionId"),
        "workflowDefinitionName": run.workflow.name,
        "status": _status(run, steps),
        "initialPayload": given.get("payload"),
        "currentPayload": _payload(given.get("payload"), steps),
        "currentStepId": _current(run, steps),
        "history": [_record(view) for view in steps if view.task.status.is_terminal],
        "startedAt": moment(run.workflow.created_at_ms),
    }
    if run.workflow.status.is_terminal:
        shown["endedAt"] = moment(run.workflow.ended_at_ms)
        error = _error(run, steps)
        if error is not None:
            shown["error"] = error
    return shown


def _status(run: RunView, steps: list[TaskView]) -> str:
    word = _WORDS[run.workflow.status]
    is_untouched = word == "RUNNING" and not any(
        view.lease or view.task.poll_count or view.task.status.is_terminal for view in steps
    )
    return "PENDING" if is_untouched else word


def _payload(initial: Any, steps: list[TaskView]) -> Any:
    for view in reversed(steps):
        if view.task.status is TaskStatus.COMPLETED:
            return (decoded(view.output).get("state") or {}).get("payload")
    return initial


def _current(run: RunView, steps: list[TaskView]) -> str | None:
    if run.workflow.status is WorkflowStatus.COMPLETED or not steps:
        return None
    return _told(steps[-1], "stepId")


def _error(run: RunView, steps: list[TaskView]) -> str | None:
    failed = [v for v in steps if v.task.status.is_terminal and not v.task.status.is_successful]
    if not failed or run.workflow.status is WorkflowStatus.TERMINATED:
        return run.workflow.reason
    return f"Error in step {_told(failed[-1], 'stepName')}: {failed[-1].task.reason}"


def _record(view: TaskView) -> dict[str, Any]:
    task, output = view.task, decoded(view.output)
    is_success = task.status is TaskStatus.COMPLETED
    record = {
        "stepId": _told(view, "stepId"),
        "functionName": _told(view, "functionName"),
        "status": "SUCCESS" if is_success else "ERROR",
        "startedAt": moment(task.started_at_ms or task.scheduled_at_ms),
        "endedAt": moment(task.ended_at_ms),
        "input": or_empty(output.get("input")),
    }
    if is_success:
        return record | {"output": or_empty(output.get("output"))}
    return record | {"error": task.reason or task.status.value}


def _told(view: TaskView, name: str) -> str:
    return str(decoded(view.input).get(name))


def or_empty(value: Any) -> Any:
    """Return what a step was given or gave; an empty object where that is undefined."""
    return {} if value is None else value


def decoded(payload: Payload) -> dict[str, Any]:
    """Return a payload's object; an empty one where it is none."""
    value = msgspec.json.decode(payload.raw) if payload.raw else None
    return value if isinstance(value, dict) else {}
