"""What may be asked of a run: the inputs of ``decide``.

Each names its run. Not called events: in Conductor an event is what an event handler listens
to. The tag of each is its kind in the journal and in stored Sends.
"""

from enum import StrEnum

import msgspec

from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload, decode_hook, encode_hook


class TimerKind(StrEnum):
    """What a timer is for; a run has at most one of a kind for each task."""

    ENQUEUE = "ENQUEUE"  # a delayed task (retry, callback, startDelay) becomes ready
    WAIT = "WAIT"  # a WAIT task is over
    POLL_TIMEOUT = "POLL_TIMEOUT"  # nobody polled the task in time
    TASK_TIMEOUT = "TASK_TIMEOUT"  # a started task without a lease runs out of timeoutSeconds
    TOTAL_TIMEOUT = "TOTAL_TIMEOUT"  # all attempts together took too long
    WORKFLOW_TIMEOUT = "WORKFLOW_TIMEOUT"  # of the whole run; belongs to no task
    CONTINUE = "CONTINUE"  # a decision stopped at SETTLE_STEPS_MAX; belongs to no task


class StartWorkflow(msgspec.Struct, frozen=True, kw_only=True, tag="start", omit_defaults=True):
    """Begin a run of a pinned definition. Source: POST /api/workflow; a parent; a failure."""

    workflow_id: str
    name: str
    definition: str  # content hash of the snapshot, see Catalog.pin
    definition_version: int = 1
    input: Payload
    correlation_id: str | None = None
    priority: int = 0
    task_to_domain: dict[str, str] = {}
    parent_id: str | None = None
    parent_task_id: str | None = None
    depth: int = 0
    event: str | None = None
    dialect: str = ""
    owner: str = ""


class UpdateTask(msgspec.Struct, frozen=True, kw_only=True, tag="update", omit_defaults=True):
    """A worker reported on a task. Source: POST /api/tasks.

    ``is_merged``: the output is laid over the earlier one (by reference and signal endpoints).
    ``is_parked``: IN_PROGRESS does not offer the task again; it stays open, in nobody's hands,
    until somebody reports its end (asyncComplete).
    """

    workflow_id: str
    task_id: str
    status: TaskStatus
    output: Payload | None = None
    is_merged: bool = False
    is_parked: bool = False
    reason: str | None = None
    callback_after_ms: int = 0
    worker_id: str | None = None
    logs: tuple[str, ...] = ()


class UpdateReference(
    msgspec.Struct, frozen=True, kw_only=True, tag="update_reference", omit_defaults=True
):
    """Somebody reported on the open task of a reference name; output is merged.

    Source: POST /api/tasks/{workflowId}/{taskRefName}/{status}.
    """

    workflow_id: str
    reference_name: str
    status: TaskStatus
    output: Payload | None = None
    worker_id: str | None = None


class FireTimer(msgspec.Struct, frozen=True, kw_only=True, tag="timer", omit_defaults=True):
    """A timer is due by store time. ``task_id`` is empty for timers of the whole run."""

    workflow_id: str
    task_id: str
    kind: TimerKind
    due_at_ms: int


class ExpireLease(msgspec.Struct, frozen=True, kw_only=True, tag="expire", omit_defaults=True):
    """A lease seems to have run out; the decision and the store check that it really has."""

    workflow_id: str
    task_id: str
    poll_count: int


class PauseWorkflow(msgspec.Struct, frozen=True, tag="pause"):
    """Stop scheduling; tasks in hand go on. Source: PUT /api/workflow/{id}/pause."""

    workflow_id: str


class ResumeWorkflow(msgspec.Struct, frozen=True, tag="resume"):
    """Go on after a pause. Source: PUT /api/workflow/{id}/resume."""

    workflow_id: str


class TerminateWorkflow(
    msgspec.Struct, frozen=True, kw_only=True, tag="terminate", omit_defaults=True
):
    """End the run now. Source: DELETE /api/workflow/{id}; a parent that ended."""

    workflow_id: str
    reason: str | None = None
    task_id: str | None = None  # set by a parent: its attempt that started this child


class RetryWorkflow(msgspec.Struct, frozen=True, kw_only=True, tag="retry", omit_defaults=True):
    """Try the failed tasks of an ended run again. Source: POST /api/workflow/{id}/retry."""

    workflow_id: str
    resume_children: bool = False  # the wire's resumeSubworkflowTasks
    task_id: str | None = None  # set by a parent: its attempt that started this child
    parent_epoch: int = 0  # set by a parent: that attempt's child_epoch


class RestartWorkflow(msgspec.Struct, frozen=True, kw_only=True, tag="restart", omit_defaults=True):
    """Run an ended run again from its beginning. Source: POST /api/workflow/{id}/restart."""

    workflow_id: str
    use_latest: bool = False  # the wire's useLatestDefinitions: of its name, as registered now


class RerunWorkflow(msgspec.Struct, frozen=True, kw_only=True, tag="rerun", omit_defaults=True):
    """Run an ended run again, all of it or from one of its tasks.

    ``up_to``: the ancestor that the caller named when the task is a sub-workflow's; what it has
    behind the sub-workflow runs again too. Source: POST /api/workflow/{id}/rerun.
    """

    workflow_id: str
    task_id: str | None = None
    task_input: Payload | None = None
    input: Payload | None = None
    correlation_id: str | None = None
    up_to: str | None = None


class SkipTask(msgspec.Struct, frozen=True, kw_only=True, tag="skip", omit_defaults=True):
    """Step over a task that has not been reached. Source: PUT /api/workflow/{id}/skiptask/{ref}."""

    workflow_id: str
    reference_name: str  # in a loop with the number of its pass: "a__2"
    input: Payload | None = None
    output: Payload | None = None


class DeleteWorkflow(msgspec.Struct, frozen=True, kw_only=True, tag="remove", omit_defaults=True):
    """Delete a run with everything it has. Source: DELETE /api/workflow/{id}/remove."""

    workflow_id: str
    must_have_ended: bool = True  # the wire's archiveWorkflow


class ResetCallbacks(msgspec.Struct, frozen=True, tag="reset_callbacks"):
    """Offer tasks that wait out a delay to workers now. Source: POST .../resetcallbacks."""

    workflow_id: str


class DecideWorkflow(msgspec.Struct, frozen=True, tag="decide"):
    """Settle what may have been left over. Source: PUT /api/workflow/decide/{id}."""

    workflow_id: str


class LogTask(msgspec.Struct, frozen=True, kw_only=True, tag="log", omit_defaults=True):
    """Append a line to a task's log. Source: POST /api/tasks/{taskId}/log."""

    workflow_id: str
    task_id: str
    line: str


class ChildEnded(msgspec.Struct, frozen=True, kw_only=True, tag="child_ended", omit_defaults=True):
    """A child tells its parent. ``task_id`` is the parent's attempt; a superseded one is moot.

    So is one from before the parent told the child to go on: ``parent_epoch`` says when.
    """

    workflow_id: str
    task_id: str
    child_id: str
    status: TaskStatus
    output: Payload
    reason: str | None = None
    parent_epoch: int = 0


class ReviveParent(msgspec.Struct, frozen=True, kw_only=True, tag="revive", omit_defaults=True):
    """A child that had ended runs again: its parent's task is open once more.

    ``had_completed``: the child was COMPLETED before, so that what came of it is open again too.
    ``up_to``: see RerunWorkflow.
    """

    workflow_id: str
    task_id: str
    child_id: str
    had_completed: bool = False
    up_to: str | None = None


Command = (
    StartWorkflow
    | UpdateTask
    | UpdateReference
    | FireTimer
    | ExpireLease
    | PauseWorkflow
    | ResumeWorkflow
    | TerminateWorkflow
    | RetryWorkflow
    | RestartWorkflow
    | RerunWorkflow
    | SkipTask
    | DeleteWorkflow
    | ResetCallbacks
    | DecideWorkflow
    | LogTask
    | ChildEnded
    | ReviveParent
)

# What an operator may ask of a run, by its id alone.
Control = (
    PauseWorkflow
    | ResumeWorkflow
    | TerminateWorkflow
    | RetryWorkflow
    | RestartWorkflow
    | RerunWorkflow
    | SkipTask
    | DeleteWorkflow
    | ResetCallbacks
    | DecideWorkflow
)


def encode_command(command: Command) -> bytes:
    """Return the command as the JSON document that a Send row stores."""
    return msgspec.json.encode(command, enc_hook=encode_hook)


def decode_command(document: bytes) -> Command:
    """Return the command in a Send row's document; the reverse of ``encode_command``."""
    decoded: Command = _DECODER.decode(document)
    return decoded


_DECODER: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command, dec_hook=decode_hook)
