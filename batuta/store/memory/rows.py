"""What the memory store holds: one dictionary for each table of the databases."""

import re
from dataclasses import dataclass, field

import msgspec

from batuta.model.change import Enqueue
from batuta.model.command import TimerKind
from batuta.model.execution import Lease, Task, Workflow
from batuta.model.payload import Payload
from batuta.store.base import Document, JournalRow, LogLine, PendingSend
from batuta.store.cursor import Cursor
from batuta.store.failing import Failing

# Larger ones come unloaded, as from the databases, so that tests meet payloads to be fetched.
PAYLOAD_INLINE_BYTES_MAX = 16_384

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class TaskRow(msgspec.Struct, frozen=True):
    """A task, with the version of the run that last wrote or retired it."""

    task: Task
    version: int
    is_retired: bool = False


class Ready(msgspec.Struct, frozen=True):
    """A task that waits in its queue."""

    workflow_id: str
    enqueue: Enqueue

    @property
    def place(self) -> tuple[int, int, str]:
        """The order of hand-out, smallest first."""
        return (-self.enqueue.priority, self.enqueue.at_ms, self.enqueue.task_id)


class Held(msgspec.Struct, frozen=True):
    """A task in a worker's hands, with what puts it back into its old place."""

    lease: Lease
    seq: int
    at_ms: int
    priority: int


class Reservation(msgspec.Struct, frozen=True):
    """Who holds a key, and until when."""

    workflow_id: str
    until_ms: int


@dataclass(slots=True)
class Run:
    """A run with its tasks by seq and its payloads by ``(seq, part)``; seq 0 is the run."""

    workflow: Workflow
    tasks: dict[int, TaskRow] = field(default_factory=dict)
    payloads: dict[tuple[int, str], bytes] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """Everything that is stored. ``queues`` and ``seqs`` are indexes of the rest."""

    runs: dict[str, Run] = field(default_factory=dict)
    seqs: dict[str, tuple[str, int]] = field(default_factory=dict)  # by task id
    ready: dict[str, Ready] = field(default_factory=dict)  # by task id
    queues: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)  # places, sorted
    held: dict[str, Held] = field(default_factory=dict)  # by task id
    # By a limit's key: (when, how many) were taken.
    taken: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    timers: dict[tuple[str, str, TimerKind], int] = field(default_factory=dict)  # due_at_ms
    sends: dict[int, PendingSend] = field(default_factory=dict)
    senders: dict[int, str] = field(default_factory=dict)  # by Send
    send_id_last: int = 0
    failing: dict[tuple[str, str, str], Failing] = field(default_factory=dict)
    reservations: dict[tuple[str, str], Reservation] = field(default_factory=dict)
    journal: list[JournalRow] = field(default_factory=list)  # by position
    position_last: int = 0
    cursors: dict[str, Cursor] = field(default_factory=dict)  # readers of the journal, by name
    left_over: dict[str, list[TaskRow]] = field(default_factory=dict)  # tasks of purged runs
    requests: dict[tuple[str, int], str] = field(default_factory=dict)  # request id by version
    logs: dict[str, list[LogLine]] = field(default_factory=dict)
    documents: dict[tuple[str, str, int], Document] = field(default_factory=dict)
    snapshots: dict[str, bytes] = field(default_factory=dict)
    committed_at_ms: int = 0  # the highest time of any batch
    rows_written: int = 0


def is_id(text: str) -> bool:
    """Return whether the text is a UUID in canonical form; the databases keep only these."""
    return _ID.fullmatch(text) is not None


def payload(run: Run, seq: int, part: str, *, inline_bytes_max: int) -> Payload | None:
    """Return a payload as load gives it: None when absent, without its bytes when large."""
    raw = run.payloads.get((seq, part))
    if raw is None:
        return None
    return Payload(raw) if len(raw) <= inline_bytes_max else Payload(None, len(raw))
