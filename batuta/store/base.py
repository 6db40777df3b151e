"""What a store must do. ``batuta.testing.store`` proves each implementation.

A store keeps records and checks versions; it holds no rules. The order of promises:
everything in a ``Batch`` is decided before ``commit`` is called, durable before it returns,
and only then told to anybody.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from batuta.model.change import Change
from batuta.model.execution import Lease, Task, Workflow
from batuta.model.limit import Limit, LimitUse
from batuta.model.payload import Payload
from batuta.store.cursor import Cursors
from batuta.store.failing import Failing
from batuta.store.query.tree import FoundTask, Page, Query, Sort

JOURNAL_ENTRY_BYTES_MAX = 300  # on the one-step path; a promise that tests/unit checks


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One command of a run, as the journal keeps it: exactly one for each version.

    ``changed``: UTF-8 JSON ``{"w": {field: value}, "t": {seq: {field: value}}, "x": [seq]}``,
    header differences by the stored (short) field names (a new record: its whole document),
    ``x`` the retired tasks. ``updated_at_ms`` and the version are not in it: they are the
    entry's. ``core.journal`` makes and folds entries.
    """

    version: int
    at_ms: int
    kind: str  # the command's tag
    actor: str = ""
    request_id: str = ""
    changed: bytes


class RunChanges(msgspec.Struct, frozen=True, kw_only=True):
    """One run's part of a decision.

    ``version_from`` 0: the run is new and its changes hold its PutWorkflow. ``version_to`` is
    ``version_from + len(entries)``. Changes are in order; the last Put of a record wins, and
    the committer has merged them already: one Put for each record at most.
    """

    workflow_id: str
    version_from: int
    version_to: int
    changes: Sequence[Change]
    entries: Sequence[Entry]


class Decision(msgspec.Struct, frozen=True):
    """Runs that are accepted or refused together (a Send settled in place joins its two)."""

    runs: Sequence[RunChanges]


class Part(msgspec.Struct, frozen=True):
    """A part of a queue and the limit of its tasks; None: the limit was lifted."""

    queue: str  # as ``model.limit.part_name`` makes it
    limit: Limit | None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A poller's wish: up to ``count`` ready tasks of a queue, most urgent first.

    From ``parts`` it gets no more than their limits leave room for: the store counts what is
    held and taken, in the transaction that makes the leases.
    """

    queue: str
    worker_id: str | None
    count: int
    parts: Sequence[Part] = ()


class Touch(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat, or the answer to a poll that could not be delivered.

    ``is_given_back`` False: the lease starts anew. True: the lease goes, the task is ready
    again in its old place, its poll count as before; so the poll's time is compared too.
    """

    task_id: str
    poll_count: int
    polled_at_ms: int = 0  # of the lease that is given back; a heartbeat has none
    is_given_back: bool = False


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """All that one transaction writes."""

    now_ms: int
    decisions: Sequence[Decision] = ()
    claims: Sequence[Claim] = ()
    touches: Sequence[Touch] = ()


class Accepted(msgspec.Struct, frozen=True):
    """The decision is on disk."""


class Stale(msgspec.Struct, frozen=True):
    """Nothing of the decision was written: a version, a lease or a Send was not as decided."""


class Taken(msgspec.Struct, frozen=True):
    """Nothing was written: a Reserve lost to ``workflow_id``."""

    workflow_id: str


Verdict = Accepted | Stale | Taken


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch, each list in the batch's order."""

    verdicts: list[Verdict]
    claimed: list[list[Lease]]  # for each claim; shorter than asked: the queue is empty now
    touched: list[bool]  # False: the lease was no longer that one


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A run as stored, or what is newer than a known version of it.

    ``tasks`` are in order of seq, without retired ones; with ``version_known`` only those
    written since. ``retired`` lists the seqs retired since. ``leases`` are always complete.
    A payload too large to be inline comes as ``Payload(None, size)``; ``fetch`` brings it.
    """

    workflow: Workflow
    input: Payload | None
    output: Payload | None
    variables: Payload | None
    tasks: list[tuple[Task, Payload | None, Payload | None]]
    retired: list[int]
    leases: list[Lease]


class DueTimer(msgspec.Struct, frozen=True, kw_only=True):
    """A timer row that is due at ``due_at_ms``."""

    workflow_id: str
    task_id: str
    kind: str  # a TimerKind, unless the row is damaged
    due_at_ms: int


class PendingSend(msgspec.Struct, frozen=True, kw_only=True):
    """A Send row; ``document`` is the encoded command. Delivered in order of id for a target."""

    send_id: int
    workflow_id: str
    document: bytes


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What wants a command within the horizon, soonest first, at most ``limit`` of each.

    ``sends``: of each target only the oldest, so that one that is stuck hides no other's; and
    those that failed and may be tried again. Behind one that failed nothing of its sender for
    its target is there. ``timers`` and ``leases`` have not failed; what has failed and is due
    again, Sends too, is in ``failing``.
    """

    timers: list[DueTimer]
    leases: list[Lease]
    sends: list[PendingSend]
    failing: list[Failing] = []


class Store(Protocol):
    """Durable state of runs. Every method is safe to call from several nodes at once."""

    name: str  # "memory", "sqlite", "postgresql": for status and logs
    # Several nodes may write at once: what a node remembers of a run may be behind the store.
    is_shared: bool

    async def load(self, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
        """Return the runs that exist among ``(workflow_id, version_known)``; 0 loads all.

        A run whose version is the known one comes with no tasks (its leases are there).
        """
        ...

    async def fetch(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload]:
        """Return payloads by ``(workflow_id, seq, part)``; seq 0 is the run itself.

        Raises:
            StoreError: One does not exist.
        """
        ...

    async def commit(self, batch: Batch) -> Committed:
        """Write the batch in one transaction and return once it is durable.

        A decision is written whole or not at all; one refused does not fail the others.

        Raises:
            StoreError: Nothing is known to be written; ask ``settled`` before deciding again.
        """
        ...

    async def settled(self, wanted: Sequence[tuple[str, int, str]]) -> list[bool]:
        """Say whether the journal holds ``(workflow_id, version, request_id)``.

        The read-back after a commit whose outcome is unknown.
        """
        ...

    async def due(self, until_ms: int, limit: int) -> Due:
        """Return timers and lease expiries up to ``until_ms`` and each run's next Sends."""
        ...

    async def held_by(self, worker_id: str) -> list[Lease]:
        """Return the leases that this worker holds, expired ones too, by task id.

        For recovery: it may read every lease, which are as many as tasks in hands, but no task.
        """
        ...

    async def forget_sends(self, workflow_id: str) -> bool:
        """Delete the Sends for a run that is not there; False, and no change, when it is.

        A run may be removed before others know of it, and then nobody is left to be told.
        """
        ...

    async def find_task(self, task_id: str) -> str | None:
        """Return the id of the run that has this task, or None."""
        ...

    async def now_ms(self) -> int:
        """Return store time: Unix ms, never less than any time committed."""
        ...

    async def close(self) -> None:
        """Finish the commit in flight, close the database. Idempotent."""
        ...


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A named, versioned document of the catalogue; ``body`` is UTF-8 JSON."""

    kind: str  # "workflow_def", "task_def"
    name: str
    version: int = 1
    body: bytes
    owner: str = ""
    created_at_ms: int = 0
    updated_at_ms: int = 0


class Catalog(Protocol):
    """Definitions and settings, and the snapshots that runs are pinned to."""

    async def put_documents(self, documents: Sequence[Document], *, overwrite: bool) -> list[bool]:
        """Store documents; all or none. False marks those that exist (``overwrite`` False).

        With ``overwrite`` True every answer is True and ``created_at_ms`` of the first is kept.
        """
        ...

    async def get_document(self, kind: str, name: str, version: int = 0) -> Document | None:
        """Return a document; version 0 means the highest."""
        ...

    async def list_documents(self, kind: str, name: str | None = None) -> list[Document]:
        """Return all versions of all documents of a kind, by name and version."""
        ...

    async def delete_document(self, kind: str, name: str, version: int = 0) -> bool:
        """Delete one version (0: all); False when there was none."""
        ...

    async def put_snapshot(self, digest: str, body: bytes) -> None:
        """Keep a definition snapshot under its content hash; again is the same."""
        ...

    async def get_snapshot(self, digest: str) -> bytes | None:
        """Return a snapshot's body, or None."""
        ...


class JournalRow(msgspec.Struct, frozen=True, kw_only=True):
    """An entry with its place in commit order."""

    position: int
    workflow_id: str
    entry: Entry


class Journal(Protocol):
    """The append-only record of commands, in commit order."""

    @property
    def cursors(self) -> Cursors:
        """Who reads it, and how far each has come."""
        ...

    async def read_after(
        self, position: int, *, limit: int, workflow_id: str | None = None
    ) -> list[JournalRow]:
        """Return rows after ``position`` (0 = from the start), oldest first."""
        ...


class QueueDepth(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks of a queue are ready, and how many are in workers' hands."""

    queue: str
    ready: int
    leased: int
    oldest_at_ms: int = 0  # when the oldest ready one was enqueued; 0 when none is


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a worker logged for a task."""

    task_id: str
    created_at_ms: int
    line: str


class Search(Protocol):
    """Query-only views; they see committed state and touch no commit."""

    async def search(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[Workflow]:
        """Return a page of the runs that match, or that have a task that matches.

        The total is exact up to ``TOTAL_EXACT_MAX``. ``sort`` is of runs in both cases.

        Raises:
            InvalidError: It would read more than the store has time for; narrow it.
        """
        ...

    async def search_tasks(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[FoundTask]:
        """Return a page of the tasks that match, without retired ones; as ``search``."""
        ...

    async def recent(self, *, limit: int, status: str | None = None) -> list[Workflow]:
        """Return the newest runs by creation."""
        ...

    async def counts(self) -> dict[str, int]:
        """Return how many runs have each status; of none, nothing.

        Bounded, like the total of a search: ``TOTAL_EXACT_MAX + 1`` stands for all that is more.
        """
        ...

    async def queues(self) -> list[QueueDepth]:
        """Return the queues that have ready or leased tasks, by name; parts by their own."""
        ...

    async def parts(self) -> list[str]:
        """Return the parts of queues that have ready tasks, by name."""
        ...

    async def limit_use(self, key: str, since_ms: int) -> LimitUse:
        """Return how many tasks of a limit's key are held, and were taken after ``since_ms``."""
        ...

    async def logs(self, task_id: str) -> list[LogLine]:
        """Return a task's log, oldest first."""
        ...

    async def statistics(self) -> dict[str, Any]:
        """Return facts for status and tests: statements, commits and rows written so far."""
        ...
