"""What retry, restart, rerun and the revival of a parent share: an ended run opens again."""

from typing import Any

from msgspec.structs import replace

from batuta.core.draft import Draft
from batuta.core.execution import CONTAINER_TYPES
from batuta.core.limits.policy import SECOND_MS
from batuta.core.tasks import begin
from batuta.core.tasks.attempt import set_limits
from batuta.model.command import ReviveParent, TimerKind
from batuta.model.definition import WorkflowTimeoutPolicy
from batuta.model.error import ConflictError
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.payload import Payload

_UNSUCCESSFUL = frozenset(
    {
        TaskStatus.FAILED,
        TaskStatus.FAILED_WITH_TERMINAL_ERROR,
        TaskStatus.TIMED_OUT,
        TaskStatus.CANCELED,
    }
)


def check_ended(draft: Draft, operation: str) -> None:
    """Refuse an operation on a run that has not ended.

    Raises:
        ConflictError: As said.
    """
    workflow = draft.workflow
    if not workflow.status.is_terminal:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} is {workflow.status}; only an ended one can be "
            f"{operation}"
        )


def failed_attempts(draft: Draft) -> list[Task]:
    """Return the newest attempt of each reference name, where that is unsuccessful."""
    execution = draft.execution
    return [
        task
        for task in execution.in_order()
        if task.status in _UNSUCCESSFUL
        and not task.is_retried
        and execution.latest.get(task.reference_name) == task.seq
    ]


def reopen(draft: Draft, **changed: Any) -> None:
    """Make the run RUNNING again, in a new epoch; what ``changed`` does not name stays."""
    draft.put_workflow(
        status=WorkflowStatus.RUNNING,
        reason=None,
        last_retried_at_ms=draft.now_ms,
        epoch=draft.workflow.epoch + 1,
        **changed,
    )
    limit_time(draft)


def limit_time(draft: Draft) -> None:
    """Start the time that the definition gives a run."""
    definition = draft.execution.graph.definition
    if definition.timeout_seconds <= 0:
        return
    if definition.timeout_policy is WorkflowTimeoutPolicy.TIME_OUT_WF:
        due_at_ms = draft.now_ms + definition.timeout_seconds * SECOND_MS
        draft.set_timer(TimerKind.WORKFLOW_TIMEOUT, due_at_ms)


def open_in_place(draft: Draft, task: Task, *, output: Payload | None = None) -> Task:
    """Have a JOIN, a loop or a sub-workflow go on where it stopped; its time starts anew."""
    if task.due_at_ms:  # the delays of a DAG's edges are looked at anew
        task = draft.put(task, due_at_ms=0)
    task = draft.put(
        task,
        output=output,
        status=TaskStatus.IN_PROGRESS,
        first_scheduled_at_ms=draft.now_ms,
        ended_at_ms=0,
        reason=None,
        is_executed=False,
    )
    set_limits(draft, task, draft.execution.graph.node_of(task).policy)
    return task


def attempt_again(draft: Draft, task: Task) -> None:
    """Make the next attempt, with no delay; totalTimeoutSeconds starts anew for it."""
    node = draft.execution.graph.node_of(task)
    before = replace(draft.put(task, is_retried=True), first_scheduled_at_ms=draft.now_ms)
    begin(draft, node, task.suffix, retry_of=before)


def open_again(draft: Draft, task: Task) -> None:
    """Open what the run's end cut short: a JOIN or loop in place, all else by an attempt."""
    if task.task_type in CONTAINER_TYPES:
        open_in_place(draft, task)
    else:
        attempt_again(draft, task)


def revive_parent(draft: Draft, *, up_to: str | None = None) -> None:
    """Tell the parent, if there is one, that its child runs again; before ``reopen``."""
    workflow = draft.workflow
    if workflow.parent_id and workflow.parent_task_id:
        draft.send(
            ReviveParent(
                workflow_id=workflow.parent_id,
                task_id=workflow.parent_task_id,
                child_id=workflow.workflow_id,
                had_completed=workflow.status.is_successful,
                up_to=up_to,
            )
        )
