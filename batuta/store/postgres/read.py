"""What the engine reads of runs: their records, payloads, timers, leases and Sends."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from batuta.model.error import StoreError
from batuta.model.execution import Lease, Task, Workflow
from batuta.model.payload import Payload
from batuta.store.base import Loaded
from batuta.store.postgres.judge import is_id
from batuta.store.postgres.link import Record, Session
from batuta.store.postgres.rows import text
from batuta.store.postgres.statements import LEASE_COLUMNS

PAYLOAD_INLINE_BYTES_MAX = 16_384  # a larger one is loaded without its bytes, and fetched

T = TypeVar("T")

_WORKFLOW = msgspec.json.Decoder(Workflow)
_TASK = msgspec.json.Decoder(Task)


def _part(table: str, name: str) -> str:
    """Return SQL for a payload's bytes if they are few ($1), and for their number."""
    # The size of a value that is stored beside the row is known without reading it.
    column = f"{table}.{name}"
    return (
        f"CASE WHEN octet_length({column}) <= $1 THEN {column} END AS {name},"
        f" octet_length({column}) AS {name}_bytes"
    )


_RUNS = f"""
SELECT w.id::text, w.version, w.updated_at, w.doc,
    {_part("w", "input")}, {_part("w", "output")}, {_part("w", "variables")}
FROM workflow AS w WHERE w.id = ANY($2::uuid[])
"""  # noqa: S608 - constants

# For a run loaded whole, version 0 is known: every task is newer.
_TASKS = f"""
SELECT t.workflow_id::text, t.seq, t.retired, t.doc, {_part("t", "input")}, {_part("t", "output")}
FROM unnest($2::uuid[], $3::bigint[]) AS known (id, version)
JOIN task AS t ON t.workflow_id = known.id AND t.version > known.version
ORDER BY t.workflow_id, t.seq
"""  # noqa: S608 - constants

_LEASES = f"SELECT {LEASE_COLUMNS} FROM lease WHERE workflow_id = ANY($1::uuid[])"  # noqa: S608

_PAYLOADS = """
SELECT CASE v.part
    WHEN 'input' THEN coalesce(w.input, t.input)
    WHEN 'output' THEN coalesce(w.output, t.output)
    WHEN 'variables' THEN w.variables END AS raw
FROM unnest($1::uuid[], $2::bigint[], $3::text[]) WITH ORDINALITY AS v (id, seq, part, place)
LEFT JOIN workflow AS w ON v.seq = 0 AND w.id = v.id
LEFT JOIN task AS t ON v.seq > 0 AND t.workflow_id = v.id AND t.seq = v.seq
ORDER BY v.place
"""

_SETTLED = """
SELECT j.version IS NOT NULL AS is_settled
FROM unnest($1::uuid[], $2::bigint[], $3::text[])
    WITH ORDINALITY AS v (id, version, request_id, place)
LEFT JOIN journal AS j
    ON j.workflow_id = v.id AND j.version = v.version AND j.request_id = v.request_id
ORDER BY v.place
"""

# A scan: the table has a row for each task in a worker's hands, and recovery asks once.
_HELD_BY = f"SELECT {LEASE_COLUMNS} FROM lease WHERE worker_id = $1 ORDER BY lease.task_id"  # noqa: S608

_RUN_OF_TASK = "SELECT workflow_id::text FROM task WHERE task_id = $1::uuid"

_NOW = """
SELECT greatest(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, at)
FROM journal_head
"""


def lease(row: Record) -> Lease:
    """Return the lease of a row that has ``LEASE_COLUMNS``."""
    return Lease(
        task_id=row["task_id"],
        workflow_id=row["workflow_id"],
        queue=row["queue"],
        worker_id=row["worker_id"],
        poll_count=row["poll_count"],
        started_at_ms=row["started_at"],
        polled_at_ms=row["polled_at"],
        expires_at_ms=row["expires_at"],
        lease_ms=row["lease_ms"],
        timeout_ms=row["timeout_ms"],
    )


def workflow(row: Record) -> Workflow:
    """Return the header of a row with doc, version and updated_at; the columns are newer."""
    return msgspec.structs.replace(
        _WORKFLOW.decode(row["doc"]), version=row["version"], updated_at_ms=row["updated_at"]
    )


def readable(rows: Iterable[Record], read: Callable[[Record], T]) -> list[T]:
    """Return what the rows hold, without what is damaged: the others are shown."""
    found = []
    for row in rows:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found.append(read(row))
    return found


async def load(session: Session, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
    """Return the runs that exist; see ``Store.load``. Wants one snapshot for all statements."""
    versions = {workflow_id: version for workflow_id, version in known if is_id(workflow_id)}
    if not versions:
        return {}
    ids = list(versions)
    runs = await session.rows(_RUNS, PAYLOAD_INLINE_BYTES_MAX, ids)
    if not runs:
        return {}
    tasks = await session.rows(_TASKS, PAYLOAD_INLINE_BYTES_MAX, ids, list(versions.values()))
    leases = await session.rows(_LEASES, ids)
    tasks_of = _by_run(tasks)
    leases_of = _by_run(leases)
    return {
        row["id"]: Loaded(
            workflow=workflow(row),
            input=_payload(row, "input"),
            output=_payload(row, "output"),
            variables=_payload(row, "variables"),
            tasks=[
                (_TASK.decode(task["doc"]), _payload(task, "input"), _payload(task, "output"))
                for task in tasks_of.get(row["id"], ())
                if not task["retired"]
            ],
            retired=[task["seq"] for task in tasks_of.get(row["id"], ()) if task["retired"]],
            leases=[lease(held) for held in leases_of.get(row["id"], ())],
        )
        for row in runs
    }


async def fetch(session: Session, wanted: Sequence[tuple[str, int, str]]) -> list[Payload]:
    """Return payloads with their bytes; see ``Store.fetch``."""
    payloads: list[Payload] = []
    found = await find_payloads(session, wanted)
    for (workflow_id, seq, part), payload in zip(wanted, found, strict=True):
        if payload is None:
            raise StoreError(f"run {workflow_id!r} has no {part!r} of seq {seq}")
        payloads.append(payload)
    return payloads


async def find_payloads(
    session: Session, wanted: Sequence[tuple[str, int, str]]
) -> list[Payload | None]:
    """Return payloads with their bytes, None for each that does not exist."""
    keys = [(workflow_id if is_id(workflow_id) else None, *rest) for workflow_id, *rest in wanted]
    if not keys:
        return []
    found = await session.rows(_PAYLOADS, *zip(*keys, strict=True))
    return [None if row["raw"] is None else Payload(row["raw"]) for row in found]


async def settled(session: Session, wanted: Sequence[tuple[str, int, str]]) -> list[bool]:
    """Say whether the journal holds these requests; see ``Store.settled``."""
    keys = [
        (workflow_id if is_id(workflow_id) else None, version, text(request_id))
        for workflow_id, version, request_id in wanted
    ]
    if not keys:
        return []
    found = await session.rows(_SETTLED, *zip(*keys, strict=True))
    return [row["is_settled"] for row in found]


async def held_by(session: Session, worker_id: str) -> list[Lease]:
    """Return a worker's leases; see ``Store.held_by``."""
    return [lease(row) for row in await session.rows(_HELD_BY, text(worker_id))]


async def find_task(session: Session, task_id: str) -> str | None:
    """Return the id of the run that has this task, or None."""
    if not is_id(task_id):
        return None
    found: str | None = await session.value(_RUN_OF_TASK, task_id)
    return found


async def now_ms(session: Session) -> int:
    """Return the database's clock, or the newest time committed when that is later."""
    now: int = await session.value(_NOW)
    return now


def _by_run(rows: Iterable[Record]) -> dict[str, list[Record]]:
    grouped: dict[str, list[Record]] = {}
    for row in rows:
        grouped.setdefault(row["workflow_id"], []).append(row)
    return grouped


def _payload(row: Record, part: str) -> Payload | None:
    size_bytes = row[part + "_bytes"]
    return None if size_bytes is None else Payload(row[part], size_bytes)
