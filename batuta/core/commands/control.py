"""Operations on a whole run: start, pause, resume, terminate, retry. Source: semantics.md f."""

from msgspec.structs import replace

from batuta.core.draft import Draft
from batuta.core.ending import finish, tell_parent
from batuta.core.execution import CONTAINER_TYPES
from batuta.core.limits.policy import SECOND_MS
from batuta.core.settle import gather, start
from batuta.core.tasks import begin
from batuta.core.tasks.attempt import set_limits
from batuta.model.command import (
    RetryWorkflow,
    ReviveParent,
    StartWorkflow,
    TerminateWorkflow,
    TimerKind,
)
from batuta.model.definition import WorkflowTimeoutPolicy
from batuta.model.error import ConflictError, NotFoundError
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


def start_workflow(draft: Draft, command: StartWorkflow) -> None:
    """Begin the run; the execution's header was made from the command. Again changes nothing."""
    if draft.workflow.version > 0:
        return
    definition = draft.execution.graph.definition
    draft.put_workflow(
        input=_with_template(command.input, definition.input_template),
        variables=Payload.of(definition.variables) if definition.variables else None,
        created_at_ms=draft.now_ms,
    )
    _limit_time(draft)
    start(draft)


def pause(draft: Draft) -> None:
    """Stop scheduling; workers go on with what they have (gotchas.md 47)."""
    workflow = draft.workflow
    if workflow.status.is_terminal:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} is {workflow.status}; only a running one pauses"
        )
    if workflow.status is WorkflowStatus.RUNNING:
        draft.put_workflow(status=WorkflowStatus.PAUSED)


def resume(draft: Draft) -> None:
    """Go on after a pause; the workflow's timeout starts anew."""
    workflow = draft.workflow
    if workflow.status is not WorkflowStatus.PAUSED:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} is {workflow.status}; only a paused one resumes"
        )
    draft.put_workflow(status=WorkflowStatus.RUNNING, last_retried_at_ms=draft.now_ms)
    _limit_time(draft)
    gather(draft)


def terminate(draft: Draft, command: TerminateWorkflow) -> None:
    """End the run as TERMINATED; its tasks are cancelled, its children terminated.

    By a parent (``task_id`` set) only a running child is ended, and only its own.
    """
    workflow = draft.workflow
    if command.task_id is not None:
        is_ours = workflow.parent_task_id == command.task_id
        if workflow.status.is_terminal or not is_ours:
            return
    if workflow.status is WorkflowStatus.COMPLETED:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} is COMPLETED; it cannot be terminated any more"
        )
    if workflow.status is WorkflowStatus.TERMINATED:
        return
    if workflow.status.is_terminal:
        draft.put_workflow(status=WorkflowStatus.TERMINATED, reason=command.reason)
        return
    finish(draft, WorkflowStatus.TERMINATED, reason=command.reason, is_asked_for=True)


def retry(draft: Draft, command: RetryWorkflow) -> None:
    """Open an ended run again by new attempts at what failed in it.

    Per reference name the newest attempt, when unsuccessful; JOIN and DO_WHILE open in place.
    A retry on a running run is 404 and on one with nothing to retry 409 (gotchas.md 2). A
    parent that asks (``task_id`` set) gets no error: a child that runs will tell its end, one
    that cannot be retried tells it once more.
    """
    workflow = draft.workflow
    if command.task_id is not None and not _is_retriable(draft, command):
        return
    if not workflow.status.is_terminal:
        raise NotFoundError(
            f"workflow {workflow.workflow_id!r} is {workflow.status}; only an ended one is retried"
        )
    if draft.execution.seq_last == 0:
        raise ConflictError(f"workflow {workflow.workflow_id!r} has no tasks to retry; restart it")
    failed = _failed_attempts(draft)
    if not failed and workflow.status is not WorkflowStatus.TIMED_OUT:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} has no failed task to retry; it is "
            f"{workflow.status}"
        )
    _reopen(draft)
    for task in failed:
        if task.task_type in CONTAINER_TYPES:
            _open_in_place(draft, task)
        elif command.resume_children and task.child_id:
            _open_in_place(draft, task)
            draft.send(
                RetryWorkflow(workflow_id=task.child_id, resume_children=True, task_id=task.task_id)
            )
        else:
            _attempt_again(draft, task)
    if command.task_id is None:
        _revive_parent(draft)
    gather(draft)


def revive(draft: Draft, command: ReviveParent) -> None:
    """A child runs again: open its task here, and this run with it.

    Superseded and optional tasks stay as they are. Cancelled siblings get new attempts with
    new ids (DESIGN.md 3.3: a leased id never comes back). Source: semantics.md f, revival.
    """
    task = draft.execution.task(command.task_id)
    if task is None or task.child_id != command.child_id or task.is_retried:
        return
    if not task.status.is_terminal or task.status.is_successful:
        return
    if draft.execution.graph.node_of(task).policy.is_optional:
        return
    siblings = [other for other in _failed_attempts(draft) if other.seq != task.seq]
    _open_in_place(draft, task)
    if draft.workflow.status.is_terminal:
        _reopen(draft)
        for other in siblings:
            if other.task_type in CONTAINER_TYPES:
                _open_in_place(draft, other)
            elif other.status is TaskStatus.CANCELED or other.child_id:
                _attempt_again(draft, other)
        _revive_parent(draft)
    gather(draft)


def _with_template(given: Payload, template: dict[str, object]) -> Payload:
    """Return the input with missing keys filled; an empty one stays empty (gotchas.md 18)."""
    if not template or given.raw in {b"{}", None}:
        return given
    return Payload.of({**template, **given.value})


def _limit_time(draft: Draft) -> None:
    definition = draft.execution.graph.definition
    if definition.timeout_seconds <= 0:
        return
    if definition.timeout_policy is WorkflowTimeoutPolicy.TIME_OUT_WF:
        due_at_ms = draft.now_ms + definition.timeout_seconds * SECOND_MS
        draft.set_timer(TimerKind.WORKFLOW_TIMEOUT, due_at_ms)


def _failed_attempts(draft: Draft) -> list[Task]:
    execution = draft.execution
    return [
        task
        for task in execution.in_order()
        if task.status in _UNSUCCESSFUL
        and not task.is_retried
        and execution.latest.get(task.reference_name) == task.seq
    ]


def _reopen(draft: Draft) -> None:
    """Make the run RUNNING again, in a new epoch; endTime and failed names stay."""
    draft.put_workflow(
        status=WorkflowStatus.RUNNING,
        reason=None,
        last_retried_at_ms=draft.now_ms,
        epoch=draft.workflow.epoch + 1,
    )
    _limit_time(draft)


def _open_in_place(draft: Draft, task: Task) -> None:
    """Have a JOIN, a loop or a sub-workflow go on where it stopped; its time starts anew."""
    task = draft.put(
        task,
        status=TaskStatus.IN_PROGRESS,
        first_scheduled_at_ms=draft.now_ms,
        ended_at_ms=0,
        reason=None,
        is_executed=False,
    )
    set_limits(draft, task, draft.execution.graph.node_of(task).policy)


def _attempt_again(draft: Draft, task: Task) -> None:
    """Make the next attempt, with no delay; totalTimeoutSeconds starts anew for it."""
    node = draft.execution.graph.node_of(task)
    before = replace(draft.put(task, is_retried=True), first_scheduled_at_ms=draft.now_ms)
    begin(draft, node, task.suffix, retry_of=before)


def _is_retriable(draft: Draft, command: RetryWorkflow) -> bool:
    """Say whether a parent's retry can be done; tell the end again where it cannot."""
    workflow = draft.workflow
    if not workflow.status.is_terminal or workflow.parent_task_id != command.task_id:
        return False
    if _failed_attempts(draft) or workflow.status is WorkflowStatus.TIMED_OUT:
        return True
    tell_parent(draft)
    return False


def _revive_parent(draft: Draft) -> None:
    workflow = draft.workflow
    if workflow.parent_id and workflow.parent_task_id:
        draft.send(
            ReviveParent(
                workflow_id=workflow.parent_id,
                task_id=workflow.parent_task_id,
                child_id=workflow.workflow_id,
            )
        )
