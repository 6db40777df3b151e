"""Operations on a whole run: start, pause, resume, terminate, retry. Source: semantics.md f."""

from batuta.core.commands.reopen import (
    failed_attempts,
    limit_time,
    open_again,
    open_in_place,
    reopen,
    revive_parent,
)
from batuta.core.commands.rerun import is_in_current_pass, open_around, rerun_behind
from batuta.core.draft import Draft
from batuta.core.ending import finish, tell_parent
from batuta.core.execution import CONTAINER_TYPES
from batuta.core.settle import gather, start
from batuta.model.command import (
    RetryWorkflow,
    ReviveParent,
    StartWorkflow,
    TerminateWorkflow,
)
from batuta.model.error import ConflictError, NotFoundError
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.payload import Payload


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
    limit_time(draft)
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
    limit_time(draft)
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
    failed = failed_attempts(draft)
    if not failed and workflow.status is not WorkflowStatus.TIMED_OUT:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} has no failed task to retry; it is "
            f"{workflow.status}"
        )
    if command.task_id is None:
        revive_parent(draft)
    reopen(draft)
    for task in failed:
        if task.child_id and command.resume_children:
            _go_on_with_child(draft, task, task.child_id)
        else:
            open_again(draft, task)
    gather(draft)


def _go_on_with_child(draft: Draft, task: Task, child_id: str) -> None:
    """Open a sub-workflow's task and have its child tried again; earlier ends are moot."""
    epoch = task.child_epoch + 1
    open_in_place(draft, draft.put(task, child_epoch=epoch))
    draft.send(
        RetryWorkflow(
            workflow_id=child_id, resume_children=True, task_id=task.task_id, parent_epoch=epoch
        )
    )


def revive(draft: Draft, command: ReviveParent) -> None:
    """A child runs again: open its task here, and this run with it.

    Superseded and optional tasks stay as they are, and so does one whose loop has gone on.
    Cancelled siblings get new attempts with new ids (DESIGN.md 3.3: a leased id never comes
    back). What came behind a child that had completed stays done, unless this run was told to
    run again from a task of the child (``up_to``). Source: semantics.md f, revival.
    """
    task = draft.execution.task(command.task_id)
    if task is None or task.child_id != command.child_id or task.is_retried:
        return
    if not task.status.is_terminal:
        return
    has_ended = draft.workflow.status.is_terminal
    if command.up_to is not None and has_ended:
        is_named = command.up_to == draft.workflow.workflow_id
        revive_parent(draft, up_to=None if is_named else command.up_to)
        rerun_behind(draft, task)
        return
    if task.status.is_successful and not command.had_completed:
        return
    is_optional = draft.execution.graph.node_of(task).policy.is_optional
    if is_optional or not is_in_current_pass(draft, task):
        return
    siblings = [other for other in failed_attempts(draft) if other.seq != task.seq]
    open_in_place(draft, task)
    if has_ended:
        revive_parent(draft)
        reopen(draft)
        for other in siblings:
            is_cut_short = other.status is TaskStatus.CANCELED or other.child_id
            if is_cut_short or other.task_type in CONTAINER_TYPES:
                open_again(draft, other)
    open_around(draft, task)
    gather(draft)


def _with_template(given: Payload, template: dict[str, object]) -> Payload:
    """Return the input with missing keys filled; an empty one stays empty (gotchas.md 18)."""
    if not template or given.raw in {b"{}", None}:
        return given
    return Payload.of({**template, **given.value})


def _is_retriable(draft: Draft, command: RetryWorkflow) -> bool:
    """Say whether a parent's retry can be done; tell the end again where it cannot."""
    workflow = draft.workflow
    if workflow.parent_task_id != command.task_id:
        return False
    draft.put_workflow(parent_epoch=command.parent_epoch)
    if not workflow.status.is_terminal:
        return False
    if failed_attempts(draft) or workflow.status is WorkflowStatus.TIMED_OUT:
        return True
    tell_parent(draft)
    return False
