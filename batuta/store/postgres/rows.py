"""Turn accepted decisions, touches and claims into rows: one list for each statement.

Two changes to one row in one ``unnest`` would apply only once, and nobody would be told which.
So rows are merged here by their keys, and each statement gets every row once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from batuta.model.change import (
    AddLog,
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
from batuta.model.command import encode_command
from batuta.model.execution import Workflow, lease_expiry_ms
from batuta.model.payload import Payload
from batuta.store.base import Claim, Decision, RunChanges, Touch
from batuta.store.postgres.judge import Held, World

WHOLE_RUN = "00000000-0000-0000-0000-000000000000"  # the task id of a timer of no task

_ENCODER = msgspec.json.Encoder()

Row = tuple[Any, ...]


@dataclass(slots=True)
class Rows:
    """What one transaction writes, by table. Keys are those of the tables."""

    runs_new: list[Row] = field(default_factory=list)
    runs: list[Row] = field(default_factory=list)  # with their header
    versions: list[Row] = field(default_factory=list)  # of runs whose header stays
    tasks: list[Row] = field(default_factory=list)
    retired: list[Row] = field(default_factory=list)
    queue: dict[str, Row] = field(default_factory=dict)
    queue_gone: set[str] = field(default_factory=set)
    leases: dict[str, Held] = field(default_factory=dict)
    leases_gone: set[str] = field(default_factory=set)
    timers: dict[tuple[str, str, str], int] = field(default_factory=dict)
    timers_gone: set[tuple[str, str, str]] = field(default_factory=set)
    sends: list[Row] = field(default_factory=list)
    sends_gone: list[int] = field(default_factory=list)
    logs: list[Row] = field(default_factory=list)
    reserves: dict[tuple[str, str], Row] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    journal: list[Row] = field(default_factory=list)


def text(value: str) -> str:
    """Return text as PostgreSQL can keep it: NUL, which it cannot, becomes U+FFFD.

    For columns that are searched or shown. What must come back exactly is stored as bytes.
    """
    return value.replace("\0", "\ufffd") if "\0" in value else value


def text_or_none(value: str | None) -> str | None:
    """Return ``text`` of a value that may be absent."""
    return None if value is None else text(value)


def collect(decisions: Iterable[Decision], world: World) -> Rows:
    """Return the rows of accepted decisions."""
    rows = Rows()
    for decision in decisions:
        for changes in decision.runs:
            _collect_run(rows, changes, world)
    return rows


def touch(rows: Rows, world: World, wish: Touch, now_ms: int) -> bool:
    """Renew a lease or put its task back; False when it is no longer that lease."""
    held = rows.leases.get(wish.task_id)
    if held is None and wish.task_id not in rows.leases_gone:
        held = world.held.get(wish.task_id)
    if held is None or held.lease.poll_count != wish.poll_count:
        return False
    lease = held.lease
    if lease.workflow_id in rows.removed:
        return False
    if wish.is_given_back:
        if lease.polled_at_ms != wish.polled_at_ms:
            return False
        _release(rows, world, lease.task_id)
        rows.queue[lease.task_id] = _returned_row(held)
        return True
    expires_at_ms = lease_expiry_ms(now_ms, lease.started_at_ms, lease.lease_ms, lease.timeout_ms)
    renewed = msgspec.structs.replace(lease, polled_at_ms=now_ms, expires_at_ms=expires_at_ms)
    rows.leases[lease.task_id] = Held(renewed, held.seq, held.priority, held.queued_at_ms)
    return True


def wishes(claims: Iterable[Claim]) -> dict[str, int]:
    """Return how many tasks of each queue the claims want together."""
    counts: dict[str, int] = {}
    for claim in claims:
        name = text(claim.queue)
        counts[name] = counts.get(name, 0) + claim.count
    return counts


def _collect_run(rows: Rows, changes: RunChanges, world: World) -> None:
    workflow_id = changes.workflow_id
    put: PutWorkflow | None = None
    for change in changes.changes:
        match change:
            case PutWorkflow():
                put = change
            case PutTask():
                rows.tasks.append(_task_row(changes, change))
            case RetireTask():
                rows.retired.append((workflow_id, change.seq, changes.version_to))
            case Enqueue():
                rows.queue[change.task_id] = _queue_row(workflow_id, change)
            case PutLease():
                lease = change.lease
                rows.queue.pop(lease.task_id, None)
                rows.leases[lease.task_id] = Held(lease, None, change.priority, change.at_ms)
            case Release():
                _release(rows, world, change.task_id)
            case SetTimer():
                key = (workflow_id, change.task_id or WHOLE_RUN, change.kind.value)
                rows.timers[key] = change.due_at_ms
            case ClearTimer():
                key = (workflow_id, change.task_id or WHOLE_RUN, change.kind.value)
                rows.timers.pop(key, None)
                rows.timers_gone.add(key)
            case _:
                _collect_small(rows, workflow_id, change)
    _collect_header(rows, changes, put)
    for entry in changes.entries:
        rows.journal.append(
            (
                workflow_id,
                entry.version,
                entry.at_ms,
                entry.kind,
                text(entry.actor),
                text(entry.request_id),
                entry.changed,
            )
        )


def _collect_small(
    rows: Rows,
    workflow_id: str,
    change: Send | SendInPlace | DropSend | Publish | AddLog | Reserve | RemoveWorkflow,
) -> None:
    match change:
        case Send():
            document = encode_command(change.command)
            rows.sends.append((change.command.workflow_id, document, workflow_id))
        case SendInPlace() | Publish():
            pass  # judged, or in the entry: no row of its own
        case DropSend():
            rows.sends_gone.append(change.send_id)
        case AddLog():
            line = change.line.encode("utf-8", "surrogatepass")
            rows.logs.append((change.task_id, workflow_id, change.created_at_ms, line))
        case Reserve():
            row = (change.scope, key_bytes(change.key), change.workflow_id, change.until_ms)
            rows.reserves[change.scope, change.key] = row
        case RemoveWorkflow():
            rows.removed.append(change.workflow_id)


def key_bytes(key: str) -> bytes:
    """Return a reservation's key as it is stored."""
    return key.encode("utf-8", "surrogatepass")


def _collect_header(rows: Rows, changes: RunChanges, put: PutWorkflow | None) -> None:
    updated_at_ms = changes.entries[-1].at_ms
    if put is None:
        rows.versions.append((changes.workflow_id, changes.version_to, updated_at_ms))
        return
    row = _run_row(put.workflow, changes.version_to, updated_at_ms)
    row += (_raw(put.input), _raw(put.output), _raw(put.variables))
    if changes.version_from:
        rows.runs.append(row)
    else:
        rows.runs_new.append(row)


def _run_row(workflow: Workflow, version: int, updated_at_ms: int) -> Row:
    return (
        workflow.workflow_id,
        version,
        text(workflow.name),
        workflow.definition,
        workflow.definition_version,
        workflow.status.value,
        text_or_none(workflow.correlation_id),
        workflow.parent_id,
        text(workflow.owner),
        text(workflow.dialect),
        workflow.priority,
        workflow.created_at_ms,
        updated_at_ms,
        workflow.ended_at_ms,
        _ENCODER.encode(workflow),
    )


def _task_row(changes: RunChanges, put: PutTask) -> Row:
    return (
        changes.workflow_id,
        put.task.seq,
        put.task.task_id,
        changes.version_to,
        text(put.task.task_type),
        text(put.task.own_name) or None,
        put.task.status.value,
        _ENCODER.encode(put.task),
        _raw(put.input),
        _raw(put.output),
    )


def _queue_row(workflow_id: str, change: Enqueue) -> Row:
    return (
        change.task_id,
        workflow_id,
        change.seq,
        text(change.queue),
        change.priority,
        change.at_ms,
        change.lease_ms,
        change.timeout_ms,
        change.poll_count,
        change.started_at_ms,
    )


def _returned_row(held: Held) -> Row:
    """Return the queue row of a task whose worker never received it: not polled, as before."""
    lease = held.lease
    poll_count = lease.poll_count - 1
    return (
        lease.task_id,
        lease.workflow_id,
        held.seq,
        text(lease.queue),
        held.priority,
        held.queued_at_ms,
        lease.lease_ms,
        lease.timeout_ms,
        poll_count,
        lease.started_at_ms if poll_count else 0,
    )


def _release(rows: Rows, world: World, task_id: str) -> None:
    rows.queue.pop(task_id, None)
    rows.leases.pop(task_id, None)
    if task_id in world.queued:
        rows.queue_gone.add(task_id)
    if task_id in world.held:
        rows.leases_gone.add(task_id)


def _raw(payload: Payload | None) -> bytes | None:
    if payload is None:
        return None
    assert payload.raw is not None, "a payload is loaded before it is written"
    return payload.raw
