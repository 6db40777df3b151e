"""TERMINATE: ends the run from inside. Source: semantics.md c.9, gotchas.md 44."""

from typing import Any

import msgspec

from batuta.core.draft import Draft
from batuta.core.scope import task_input
from batuta.core.tasks.attempt import Attempt, create
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.payload import Payload

_STATUSES = {
    "COMPLETED": WorkflowStatus.COMPLETED,
    "FAILED": WorkflowStatus.FAILED,
    "TERMINATED": WorkflowStatus.TERMINATED,
}


class EndOfRun(msgspec.Struct, frozen=True):
    """What a TERMINATE task makes of its run."""

    status: WorkflowStatus
    reason: str


def begin(draft: Draft, attempt: Attempt) -> None:
    """Complete the task with the run's output to be; settling then ends the run."""
    task = create(draft, attempt, started_at_ms=draft.now_ms)
    if task is None:
        return
    values = task_input(draft, task).value
    status = values.get("terminationStatus")
    if status not in _STATUSES:
        reason = f"terminationStatus {status!r} is none of COMPLETED, FAILED, TERMINATED"
        draft.end(task, TaskStatus.FAILED, reason=reason)
        return
    found: Any = values.get("workflowOutput")
    output = found if isinstance(found, dict) else {} if found is None else {"output": found}
    draft.end(task, TaskStatus.COMPLETED, output=Payload.of(output))


def end_of_run(draft: Draft, task: Task) -> EndOfRun:
    """Return how the run ends by a completed TERMINATE."""
    values = task_input(draft, task).value
    # Without its input in memory this draft is thrown away: any status does.
    status = _STATUSES.get(values.get("terminationStatus"), WorkflowStatus.COMPLETED)
    said = values.get("terminationReason")
    reason = str(said) if said else f"Workflow is {status} by TERMINATE task: {task.task_id}"
    return EndOfRun(status, reason)
