"""Small operations: delete a run, end waits for a delay, settle what is left over.

Source: semantics.md f.
"""

from batuta.core.draft import Draft
from batuta.core.ending import finish
from batuta.core.settle import gather
from batuta.core.tasks import start_late
from batuta.model.change import RemoveWorkflow
from batuta.model.command import DeleteWorkflow, TimerKind
from batuta.model.error import ConflictError, InvalidError
from batuta.model.execution import WorkflowStatus


def remove(draft: Draft, command: DeleteWorkflow) -> None:
    """Delete the run with all its rows; its sub-workflows are runs of their own and stay.

    One that has not ended is terminated in the same commit, so that its parent and its
    children learn of it.

    Raises:
        InvalidError: It must have ended and has not.
    """
    workflow = draft.workflow
    if not workflow.status.is_terminal:
        if command.must_have_ended:
            raise InvalidError(
                f"Cannot archive workflow: {workflow.workflow_id} with status: "
                f"{workflow.status}; terminate it first, or say archiveWorkflow=false"
            )
        finish(draft, WorkflowStatus.TERMINATED, reason="removed", is_asked_for=True)
    draft.note(RemoveWorkflow(workflow.workflow_id))


def reset_callbacks(draft: Draft) -> None:
    """Offer every worker task that waits out a callback, retry or start delay to workers now.

    Raises:
        ConflictError: The run has ended.
    """
    workflow = draft.workflow
    if workflow.status.is_terminal:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} is {workflow.status}; it waits for no callback"
        )
    for task in draft.execution.live_tasks():
        if task.queue is not None and task.due_at_ms:
            draft.clear_timer(TimerKind.ENQUEUE, task)
            start_late(draft, draft.put(task, due_at_ms=0, callback_after_ms=0))


def settle_leftovers(draft: Draft) -> None:
    """Have everything looked at once more; in a settled run nothing comes of it."""
    if draft.workflow.status is WorkflowStatus.RUNNING:
        gather(draft)
