"""Decide what a command does to a run.

No I/O, no clock, no randomness: the same arguments give the same changes, so that a conflict
is answered by deciding again and a bug is a seed. What is lacking is asked for (``Needs``).
"""

from collections.abc import Mapping, Sequence

from batuta.core.commands import control, remove, rerun, restart, skip, update
from batuta.core.draft import Draft
from batuta.core.execution import Execution
from batuta.core.settle import gather, settle
from batuta.model.change import Answers, Change, Needs
from batuta.model.command import (
    ChildEnded,
    Command,
    Control,
    DecideWorkflow,
    DeleteWorkflow,
    ExpireLease,
    FireTimer,
    LogTask,
    PauseWorkflow,
    RerunWorkflow,
    ResetCallbacks,
    RestartWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    ReviveParent,
    SkipTask,
    StartWorkflow,
    TerminateWorkflow,
    UpdateReference,
    UpdateTask,
)
from batuta.model.execution import WorkflowStatus

_NO_ENVIRONMENT: Mapping[str, str] = {}


def decide(
    execution: Execution,
    command: Command,
    *,
    now_ms: int,
    seed: bytes,
    answers: Answers,
    environment: Mapping[str, str] = _NO_ENVIRONMENT,
) -> Sequence[Change] | Needs:
    """Return the changes that ``command`` makes to ``execution``, settled to a fixed point.

    A command that no longer matters (a second completion, an update after the end, a timer of
    an ended task) changes nothing and returns an empty list: workers repeat themselves after a
    lost answer. ``execution`` is not changed; for a start it is an empty one of version 0.

    Args:
        now_ms: Store time of the batch.
        seed: 16 bytes; all new ids and all jitter derive from it.
        answers: What earlier Needs of this command were answered with.
        environment: The allow-listed names that expressions may read.

    Raises:
        NotFoundError: The command names a task that this run does not have.
        ConflictError: The run's status does not allow the operation.
    """
    draft = Draft(execution, now_ms=now_ms, seed=seed, answers=answers, environment=environment)
    if execution.unexecuted and execution.workflow.status is WorkflowStatus.RUNNING:
        gather(draft)  # a decision before this one stopped at SETTLE_STEPS_MAX
    _dispatch(draft, command)
    settle(draft)
    return draft.result()


def _dispatch(draft: Draft, command: Command) -> None:
    match command:
        case UpdateTask():
            update.update_task(draft, command)
        case StartWorkflow():
            control.start_workflow(draft, command)
        case FireTimer():
            update.fire_timer(draft, command)
        case ExpireLease():
            update.expire_lease(draft, command)
        case ChildEnded():
            update.child_ended(draft, command)
        case UpdateReference():
            update.update_reference(draft, command)
        case LogTask():
            update.log_task(draft, command)
        case ReviveParent():
            control.revive(draft, command)
        case _:
            _operate(draft, command)


def _operate(draft: Draft, command: Control) -> None:
    """Do what an operator asks of a run."""
    match command:
        case PauseWorkflow():
            control.pause(draft)
        case ResumeWorkflow():
            control.resume(draft)
        case TerminateWorkflow():
            control.terminate(draft, command)
        case RetryWorkflow():
            control.retry(draft, command)
        case RestartWorkflow():
            restart.restart(draft, command)
        case RerunWorkflow():
            rerun.rerun(draft, command)
        case SkipTask():
            skip.skip_task(draft, command)
        case DeleteWorkflow():
            remove.remove(draft, command)
        case ResetCallbacks():
            remove.reset_callbacks(draft)
        case DecideWorkflow():
            remove.settle_leftovers(draft)
