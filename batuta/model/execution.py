"""The records of a run: a workflow, its tasks, their leases.

A record is a header; payloads (input, output, variables) are kept beside it and are written
once. The wire's words for these fields are in ``api/wire.py`` only. Field names in stored
documents are short, because the journal repeats them.
"""

from enum import StrEnum

import msgspec
from msgspec import field

FORMAT = 1  # the format number that every stored document starts with


def _format() -> int:
    """Return the format; a factory's value is always written, a default's is left out."""
    return FORMAT


class WorkflowStatus(StrEnum):
    """Where a workflow stands. The words are Conductor's.

    ``is_terminal``: only an explicit retry, rerun or restart can change the workflow.
    ``is_successful``: true for COMPLETED only.
    """

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    TERMINATED = "TERMINATED"

    # Attributes instead of properties: they are read some twenty times in each decision, and
    # hashing an enum member for a set look-up costs more than the rest of the check.
    is_terminal: bool
    is_successful: bool

    def __init__(self, word: str) -> None:
        self.is_terminal = word not in ("RUNNING", "PAUSED")
        self.is_successful = word == "COMPLETED"


class TaskStatus(StrEnum):
    """Where a task stands. The words are Conductor's. Source: semantics.md b.

    ``is_terminal``: no further update is accepted. ``is_successful``: what follows may run.
    ``is_retriable``: another attempt may follow this ending.
    """

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"
    FAILED_WITH_TERMINAL_ERROR = "FAILED_WITH_TERMINAL_ERROR"
    TIMED_OUT = "TIMED_OUT"
    CANCELED = "CANCELED"
    SKIPPED = "SKIPPED"

    is_terminal: bool
    is_successful: bool
    is_retriable: bool

    def __init__(self, word: str) -> None:
        self.is_terminal = word not in ("SCHEDULED", "IN_PROGRESS")
        self.is_successful = word in ("COMPLETED", "COMPLETED_WITH_ERRORS", "SKIPPED")
        self.is_retriable = word in ("FAILED", "TIMED_OUT")


class Workflow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The header of one run of a workflow definition.

    ``version`` grows by one with every command committed; a store refuses a commit made from
    another one. It is a column of its own and not part of the stored document.
    """

    format: int = field(default_factory=_format, name="f")
    workflow_id: str = field(name="id")
    name: str = field(name="n")
    definition_version: int = field(default=1, name="dv")
    definition: str = field(name="d")  # content hash of the definition snapshot
    status: WorkflowStatus = field(default=WorkflowStatus.RUNNING, name="s")
    version: int = field(default=0, name="v")
    created_at_ms: int = field(default=0, name="ca")
    updated_at_ms: int = field(default=0, name="ua")
    ended_at_ms: int = field(default=0, name="ea")
    last_retried_at_ms: int = field(default=0, name="lr")
    correlation_id: str | None = field(default=None, name="co")
    priority: int = field(default=0, name="p")
    parent_id: str | None = field(default=None, name="pi")
    parent_task_id: str | None = field(default=None, name="pt")
    depth: int = field(default=0, name="de")  # how many runs it is inside of
    reason: str | None = field(default=None, name="r")
    failed_task_id: str | None = field(default=None, name="ft")
    failed_references: tuple[str, ...] = field(default=(), name="fr")
    failed_names: tuple[str, ...] = field(default=(), name="fn")
    task_to_domain: dict[str, str] = field(default_factory=dict, name="td")
    event: str | None = field(default=None, name="ev")
    owner: str = field(default="", name="ow")
    dialect: str = field(default="", name="di")
    epoch: int = field(default=0, name="ep")  # raised by whatever re-opens a terminal run
    seq_last: int = field(default=0, name="sl")  # no seq up to this is free; set when retiring
    failure_workflow_id: str | None = field(default=None, name="fw")
    # Of the parent's task when its parent last told this run to go on; see Task.child_epoch.
    parent_epoch: int = field(default=0, name="pe")


class Origin(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Where the node of a task is defined that the run's definition does not have.

    A branch of a FORK_JOIN_DYNAMIC and what a DYNAMIC became are known only when the run gets
    there. So each of their tasks carries what a reload needs: the JSON of the node at the
    branch's root, without its reference name, and without the inputs that its task has anyway.
    """

    node: str  # reference name of the node that made it
    root: str  # reference name of the branch's root
    shape: str
    outer: "Origin | None" = None  # of the maker, when that is defined by a run too


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The header of one attempt at one node of a definition.

    A retry is a new Task with the same ``reference_name`` and ``retry_count`` one higher. While
    a worker holds the task its ``status`` stays SCHEDULED: the lease is a row of its own and
    the wire shows both overlaid.
    """

    format: int = field(default_factory=_format, name="f")
    seq: int = field(name="q")  # 1-based order of creation in the run
    task_id: str = field(name="id")
    reference_name: str = field(name="ref")  # with the loop suffix: "a__2"
    node: str = field(default="", name="nd")  # the definition's reference name; "" = the same
    task_type: str = field(name="ty")  # the wire's taskType; for SIMPLE the task name
    own_name: str = field(default="", name="on")  # in the definition; "" = the task type
    status: TaskStatus = field(default=TaskStatus.SCHEDULED, name="s")
    retry_count: int = field(default=0, name="rc")
    iteration: int = field(default=0, name="it")  # 0 = not in a loop
    scheduled_at_ms: int = field(default=0, name="sa")
    first_scheduled_at_ms: int = field(default=0, name="fs")
    started_at_ms: int = field(default=0, name="st")
    updated_at_ms: int = field(default=0, name="ua")
    ended_at_ms: int = field(default=0, name="ea")
    queue: str | None = field(default=None, name="qu")  # None: no worker may poll it
    domain: str | None = field(default=None, name="do")
    poll_count: int = field(default=0, name="pc")
    worker_id: str | None = field(default=None, name="w")
    reason: str | None = field(default=None, name="r")
    callback_after_ms: int = field(default=0, name="cb")
    start_delay_ms: int = field(default=0, name="sd")
    is_retried: bool = field(default=False, name="rt")  # a newer attempt exists
    is_executed: bool = field(default=False, name="ex")  # its successor has been computed
    retried_task_id: str | None = field(default=None, name="ri")
    child_id: str | None = field(default=None, name="ch")  # the sub-workflow's run
    # Raised each time the child is told to go on: an end that it told before that is moot.
    child_epoch: int = field(default=0, name="ce")
    join_on: tuple[str, ...] = field(default=(), name="jo")
    origin: Origin | None = field(default=None, name="or")
    due_at_ms: int = field(default=0, name="du")  # of its WAIT or ENQUEUE timer; 0 = none
    is_left_out: bool = field(default=False, name="lo")  # no edge that leads to it was taken

    @property
    def node_name(self) -> str:
        """The reference name in the definition, without any loop suffix."""
        return self.node or self.reference_name

    @property
    def definition_name(self) -> str:
        """The task's name in the definition."""
        return self.own_name or self.task_type

    @property
    def is_skipped_by_hand(self) -> bool:
        """Whether an operator skipped it; what only a DAG left out has never started."""
        return self.status is TaskStatus.SKIPPED and self.started_at_ms > 0

    @property
    def suffix(self) -> str:
        """The loop suffix of the reference name: ``"__2"``, or ``""`` outside loops."""
        return self.reference_name[len(self.node) :] if self.node else ""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a worker's hands: a row of its own, never a new version of the run.

    ``(task_id, poll_count)`` identifies it: a task polled again after an IN_PROGRESS report has
    a higher poll count. Only one whose answer was never delivered comes again under the same
    one; ``polled_at_ms`` tells these apart.
    """

    task_id: str
    workflow_id: str
    queue: str
    worker_id: str | None
    poll_count: int
    started_at_ms: int  # of the first poll of this task
    polled_at_ms: int  # of this poll, or of the last heartbeat
    expires_at_ms: int
    lease_ms: int  # how long each poll or heartbeat keeps it
    timeout_ms: int  # 0 = none; counted from started_at_ms, heartbeats do not move it


def lease_expiry_ms(now_ms: int, started_at_ms: int, lease_ms: int, timeout_ms: int) -> int:
    """Return when a lease taken or renewed at ``now_ms`` ends: the sooner of both limits."""
    expires_at_ms = now_ms + lease_ms
    return min(expires_at_ms, started_at_ms + timeout_ms) if timeout_ms else expires_at_ms


def renewed(lease: Lease, now_ms: int) -> Lease:
    """Return the lease after a heartbeat at ``now_ms``: its time starts anew."""
    expires_at_ms = lease_expiry_ms(now_ms, lease.started_at_ms, lease.lease_ms, lease.timeout_ms)
    return msgspec.structs.replace(lease, polled_at_ms=now_ms, expires_at_ms=expires_at_ms)
