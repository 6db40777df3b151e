"""What a decision writes: the outputs of ``decide``, applied in one transaction.

Changes carry whole records, so that a store holds no rules. Beside the record stands what
differs from the one before (``changed``, by field name; None for a new record): the journal
keeps that, and folding a run's journal gives its headers.
"""

from typing import Any

import msgspec

from batuta.model.command import Command, TimerKind
from batuta.model.execution import Lease, Task, Workflow
from batuta.model.payload import Payload


class PutWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    """Insert the workflow, or replace its header; payloads only where given."""

    workflow: Workflow
    changed: dict[str, Any] | None = None
    input: Payload | None = None
    output: Payload | None = None
    variables: Payload | None = None
    graph: Any = None
    """The index (core) of another definition than before, for memory; stores keep its hash."""


class PutTask(msgspec.Struct, frozen=True, kw_only=True):
    """Insert the task, or replace its header; payloads only where given."""

    task: Task
    changed: dict[str, Any] | None = None
    input: Payload | None = None
    output: Payload | None = None


class RetireTask(msgspec.Struct, frozen=True):
    """Hide the task from load, decide, templates and wire; history keeps it."""

    seq: int


class Enqueue(msgspec.Struct, frozen=True, kw_only=True):
    """Offer a task to the workers that poll ``queue``, from now on.

    Order of hand-out: priority (higher first), then ``at_ms``, then task id. The rest is what
    a claim needs to make the lease without reading the task.
    """

    task_id: str
    seq: int
    queue: str
    at_ms: int
    priority: int = 0
    lease_ms: int
    timeout_ms: int = 0
    poll_count: int = 0
    started_at_ms: int = 0  # 0: this poll will be the first


class PutLease(msgspec.Struct, frozen=True, kw_only=True):
    """An Enqueue that found a waiting poller: the task goes straight into its hands.

    Written by the committer, never by ``decide``. ``priority`` and ``at_ms`` are the Enqueue's:
    the place the task gets when it is given back.
    """

    lease: Lease
    priority: int = 0
    at_ms: int


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Take the task out of its queue, or out of its holder's hands.

    ``poll_count`` 0: the decision saw no lease, so there must be none now; else it saw this
    lease. The store refuses the decision as stale when the lease is another one.
    ``expired_at_ms``: refuse unless the lease's expiry is at or before this (store) time.
    """

    task_id: str
    poll_count: int = 0
    expired_at_ms: int | None = None


class SetTimer(msgspec.Struct, frozen=True, kw_only=True):
    """Submit FireTimer at ``due_at_ms``. Replaces the run's timer of the same task and kind."""

    task_id: str  # "" for the whole run
    kind: TimerKind
    due_at_ms: int


class ClearTimer(msgspec.Struct, frozen=True, kw_only=True):
    """Remove a timer; nothing happens when there is none."""

    task_id: str
    kind: TimerKind


class Send(msgspec.Struct, frozen=True):
    """A command for another run, delivered exactly once.

    The committer settles it in the same transaction where it can; else it is a row.
    """

    command: Command


class SendInPlace(msgspec.Struct, frozen=True):
    """The run's Send to ``workflow_id`` is settled by this decision, without a row.

    Written by the committer, never by ``decide``. The store refuses the decision as stale when
    it has a Send of this run for that one: what one run sends to another stays in order.
    """

    workflow_id: str


class DropSend(msgspec.Struct, frozen=True):
    """The run has consumed a stored Send; the store refuses the decision when it is gone."""

    send_id: int


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """A message for event handlers. The command's journal entry carries it; stores write nothing.

    ``message_id`` is its task's: another attempt is another message.
    """

    queue: str
    message_id: str
    payload: Payload


class AddLog(msgspec.Struct, frozen=True, kw_only=True):
    """A line a worker logged for a task."""

    task_id: str
    created_at_ms: int
    line: str


class Reserve(msgspec.Struct, frozen=True, kw_only=True):
    """Claim a key for a run, across runs: the first wins, the others learn who did."""

    scope: str
    key: str
    workflow_id: str
    until_ms: int


class RemoveWorkflow(msgspec.Struct, frozen=True):
    """Delete the run with everything it has. Only retention and remove do this."""

    workflow_id: str


Change = (
    PutWorkflow
    | PutTask
    | RetireTask
    | Enqueue
    | PutLease
    | Release
    | SetTimer
    | ClearTimer
    | Send
    | SendInPlace
    | DropSend
    | Publish
    | AddLog
    | Reserve
    | RemoveWorkflow
)


class NeedDefinition(msgspec.Struct, frozen=True):
    """The snapshot of a definition; ``version`` 0 means the latest."""

    name: str
    version: int = 0
    inline: str = ""
    """The definition itself as JSON, when the task brings it along."""


class NeedPayload(msgspec.Struct, frozen=True):
    """The bytes of a task's input or output (or of the run itself: ``seq`` 0)."""

    seq: int
    part: str  # "input", "output" or "variables"


class NeedScript(msgspec.Struct, frozen=True):
    """The value of a JavaScript expression, given ``$`` as UTF-8 JSON."""

    source: str
    argument: bytes


class NeedJq(msgspec.Struct, frozen=True):
    """All values that a jq program gives, as a JSON list, for its input as UTF-8 JSON."""

    program: str
    argument: bytes


class NeedTaskDefs(msgspec.Struct, frozen=True):
    """The task definitions of these names as registered now; of some there may be none."""

    names: tuple[str, ...]


class NeedGraph(msgspec.Struct, frozen=True):
    """The index (``core.graph``) of a snapshot, by content hash: the run changes to it."""

    definition: str


class NeedDomain(msgspec.Struct, frozen=True):
    """Whether a worker has polled this queue lately."""

    queue: str


class Needs(msgspec.Struct, frozen=True):
    """What ``decide`` lacks. The committer fetches it and decides the same command again."""

    wanted: "tuple[Need, ...]"


class PinnedDefinition(msgspec.Struct, frozen=True):
    """Answer to NeedDefinition: a stored snapshot."""

    definition: str
    version: int


class Failure(msgspec.Struct, frozen=True):
    """Answer to a need that cannot be met: why. A run may fail by it; the engine does not.

    ``is_late``: it took too long, so that another attempt may succeed.
    """

    message: str
    is_late: bool = False


Need = NeedDefinition | NeedGraph | NeedPayload | NeedScript | NeedJq | NeedTaskDefs | NeedDomain

# Answers by need. Payloads are answered by loading them into the execution.
Answers = dict[Need, Any]
