"""Group the changes of a batch by table, so that a database writes each table once. Pure.

A row is a tuple in the order that ``Tables`` states. Rows travel as one JSON array for each
table (``msgspec.json.encode``; headers stand in it as objects); bytes that must stay as they
are (payloads, Sends, journal entries) travel in one blob beside them, and rows name them by
offset and size. So nothing is escaped, and a statement takes one parameter however many rows
it writes.

The last change of a record wins: an Enqueue that a later command of the batch released leaves
no queue row, and a timer set and cleared leaves none.
"""

from collections.abc import Callable, Container
from typing import Any

import msgspec
from msgspec import field

from batuta.model.change import (
    AddLog,
    Change,
    ClearTimer,
    DropSend,
    Enqueue,
    Publish,
    PutLease,
    PutTask,
    PutWorkflow,
    Release,
    RemoveWorkflow,
    Reserve,
    RetireTask,
    Send,
    SendInPlace,
    SetTimer,
)
from batuta.model.command import TimerKind, encode_command
from batuta.model.payload import Payload
from batuta.store.base import Batch, RunChanges

PAYLOAD_INLINE_BYTES_MAX = 16_384  # a larger one has a row of its own and is fetched on demand

Row = tuple[Any, ...]


class Tables(msgspec.Struct, kw_only=True):
    """A batch by table: what has to be as it was decided, then what is written.

    ``d`` is the decision's index in the batch; ids are text; ``at`` and ``size`` name bytes of
    the blob and are both None when there are none. The rows:

    - versions: d, workflow_id, version_from
    - releases: d, workflow_id, task_id, poll_count (None: not compared), expired_at_ms or None
    - drops: d, send_id
    - in_place: d, workflow_id of the sender, of the target
    - reserves: d, scope, key, workflow_id, until_ms
    - workflows: Workflow, version, updated_at_ms, at and size of input, output, variables
    - bumps: workflow_id, version, updated_at_ms; runs of which nothing but that changed
    - tasks: workflow_id, version, Task, at and size of input, of output
    - larges: workflow_id, seq (0: the run), part, at, size; payloads too large to be inline
    - retired: workflow_id, version, seq
    - queued, by task_id: workflow_id, Enqueue
    - leases, by task_id: PutLease
    - timers, by workflow_id, task_id and kind: due_at_ms, or None when it is cleared
    - sends: workflow_id of the target, at, size, workflow_id of the sender
    - logs: task_id, created_at_ms, line
    - removed: workflow_id
    - entries: workflow_id, version, at_ms, kind, actor, request_id, at, size

    ``settled`` are the tasks whose place the batch itself has changed: what a later Release of
    one saw is the batch's own doing, and the stored lease is not compared again.
    """

    versions: list[Row] = field(default_factory=list)
    releases: list[Row] = field(default_factory=list)
    drops: list[Row] = field(default_factory=list)
    in_place: list[Row] = field(default_factory=list)
    reserves: list[Row] = field(default_factory=list)
    workflows: list[Row] = field(default_factory=list)
    bumps: list[Row] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    larges: list[Row] = field(default_factory=list)
    retired: list[Row] = field(default_factory=list)
    queued: dict[str, Row] = field(default_factory=dict)
    leases: dict[str, PutLease] = field(default_factory=dict)
    timers: dict[tuple[str, str, TimerKind], int | None] = field(default_factory=dict)
    sends: list[Row] = field(default_factory=list)
    logs: list[Row] = field(default_factory=list)
    removed: list[Row] = field(default_factory=list)
    entries: list[Row] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    blobs: list[bytes] = field(default_factory=list)
    blob_size: int = 0

    def keep(self, raw: bytes) -> int:
        """Add bytes to the blob and return their offset."""
        offset = self.blob_size
        self.blobs.append(raw)
        self.blob_size = offset + len(raw)
        return offset


def merge(batch: Batch, refused: Container[int] = ()) -> Tables:
    """Return the rows of the batch's decisions, without the ``refused`` ones (by index)."""
    tables = Tables()
    for d, decision in enumerate(batch.decisions):
        if d not in refused:
            for run in decision.runs:
                _merge_run(tables, d, run)
    versions = tables.versions
    assert len({row[1] for row in versions}) == len(versions), "a run is at most once in a batch"
    return tables


def _merge_run(tables: Tables, d: int, run: RunChanges) -> None:
    workflow_id = run.workflow_id
    tables.versions.append((d, workflow_id, run.version_from))
    headers = len(tables.workflows)
    for change in run.changes:
        _MERGE[type(change)](tables, d, run, change)
    if len(tables.workflows) == headers:
        tables.bumps.append((workflow_id, run.version_to, run.entries[-1].at_ms))
    for entry in run.entries:
        changed = entry.changed
        tables.entries.append(
            (
                workflow_id,
                entry.version,
                entry.at_ms,
                entry.kind,
                entry.actor,
                entry.request_id,
                tables.keep(changed),
                len(changed),
            )
        )


def _payload(
    tables: Tables, workflow_id: str, seq: int, part: str, payload: Payload | None
) -> tuple[int, int] | tuple[None, None]:
    if payload is None:
        return _NOT_GIVEN
    raw = payload.raw
    assert raw is not None, "a payload is loaded before it is written"
    offset = tables.keep(raw)
    size = len(raw)
    if size > PAYLOAD_INLINE_BYTES_MAX:
        tables.larges.append((workflow_id, seq, part, offset, size))
    return offset, size


_NOT_GIVEN = (None, None)


def _put_workflow(tables: Tables, _d: int, run: RunChanges, change: PutWorkflow) -> None:
    workflow_id = run.workflow_id
    tables.workflows.append(
        (
            change.workflow,
            run.version_to,
            run.entries[-1].at_ms,
            *_payload(tables, workflow_id, 0, "input", change.input),
            *_payload(tables, workflow_id, 0, "output", change.output),
            *_payload(tables, workflow_id, 0, "variables", change.variables),
        )
    )


def _put_task(tables: Tables, _d: int, run: RunChanges, change: PutTask) -> None:
    workflow_id = run.workflow_id
    task = change.task
    tables.tasks.append(
        (
            workflow_id,
            run.version_to,
            task,
            *_payload(tables, workflow_id, task.seq, "input", change.input),
            *_payload(tables, workflow_id, task.seq, "output", change.output),
        )
    )


def _retire_task(tables: Tables, _d: int, run: RunChanges, change: RetireTask) -> None:
    tables.retired.append((run.workflow_id, run.version_to, change.seq))


def _enqueue(tables: Tables, _d: int, run: RunChanges, change: Enqueue) -> None:
    tables.leases.pop(change.task_id, None)
    tables.queued[change.task_id] = (run.workflow_id, change)


def _put_lease(tables: Tables, _d: int, _run: RunChanges, change: PutLease) -> None:
    task_id = change.lease.task_id
    tables.settled.add(task_id)
    tables.queued.pop(task_id, None)
    tables.leases[task_id] = change


def _release(tables: Tables, d: int, run: RunChanges, change: Release) -> None:
    task_id = change.task_id
    poll_count: int | None = change.poll_count
    if task_id in tables.settled:
        poll_count = None
    tables.settled.add(task_id)
    tables.queued.pop(task_id, None)
    tables.leases.pop(task_id, None)
    tables.releases.append((d, run.workflow_id, task_id, poll_count, change.expired_at_ms))


def _set_timer(tables: Tables, _d: int, run: RunChanges, change: SetTimer) -> None:
    tables.timers[run.workflow_id, change.task_id, change.kind] = change.due_at_ms


def _clear_timer(tables: Tables, _d: int, run: RunChanges, change: ClearTimer) -> None:
    tables.timers[run.workflow_id, change.task_id, change.kind] = None


def _send(tables: Tables, _d: int, run: RunChanges, change: Send) -> None:
    document = encode_command(change.command)
    at, size = tables.keep(document), len(document)
    tables.sends.append((change.command.workflow_id, at, size, run.workflow_id))


def _send_in_place(tables: Tables, d: int, run: RunChanges, change: SendInPlace) -> None:
    tables.in_place.append((d, run.workflow_id, change.workflow_id))


def _drop_send(tables: Tables, d: int, _run: RunChanges, change: DropSend) -> None:
    tables.drops.append((d, change.send_id))


def _publish(_tables: Tables, _d: int, _run: RunChanges, _change: Publish) -> None:
    """Write nothing: the entry has it."""


def _add_log(tables: Tables, _d: int, _run: RunChanges, change: AddLog) -> None:
    tables.logs.append((change.task_id, change.created_at_ms, change.line))


def _reserve(tables: Tables, d: int, _run: RunChanges, change: Reserve) -> None:
    tables.reserves.append((d, change.scope, change.key, change.workflow_id, change.until_ms))


def _remove_workflow(tables: Tables, _d: int, _run: RunChanges, change: RemoveWorkflow) -> None:
    tables.removed.append((change.workflow_id,))


# A look-up by type costs 0.1 us where a chain of isinstance costs up to one.
_MERGE: dict[type[Change], Callable[[Tables, int, RunChanges, Any], None]] = {
    PutWorkflow: _put_workflow,
    PutTask: _put_task,
    RetireTask: _retire_task,
    Enqueue: _enqueue,
    PutLease: _put_lease,
    Release: _release,
    SetTimer: _set_timer,
    ClearTimer: _clear_timer,
    Send: _send,
    SendInPlace: _send_in_place,
    DropSend: _drop_send,
    Publish: _publish,
    AddLog: _add_log,
    Reserve: _reserve,
    RemoveWorkflow: _remove_workflow,
}
