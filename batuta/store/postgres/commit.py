"""One batch, one transaction: lock, judge, write, claim, take journal positions."""

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from batuta.model.execution import Lease, lease_expiry_ms
from batuta.model.limit import split_part
from batuta.store.base import Accepted, Batch, Claim, Committed
from batuta.store.postgres import statements
from batuta.store.postgres.judge import Held, Wanted, World, judge, wanted
from batuta.store.postgres.limit import room
from batuta.store.postgres.link import MovedError, Session
from batuta.store.postgres.read import lease
from batuta.store.postgres.rows import (
    Row,
    Rows,
    collect,
    key_bytes,
    text,
    text_or_none,
    touch,
    wishes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

HINT_CHANNEL = "batuta_hint"  # NOTIFY after each batch that offers work to other nodes
HINT_BYTES_MAX = 4_000  # PostgreSQL allows 8,000 bytes a notification

_RUN_COLUMNS = 17
_ENCODER = msgspec.json.Encoder()


async def commit(session: Session, batch: Batch) -> Committed:
    """Write the batch; the caller commits. Order: decisions, then touches, then claims.

    Raises:
        MovedError: Another node was faster; the transaction must start again.
    """
    world = await _lock(session, wanted(batch))
    verdicts = judge(list(batch.decisions), world, batch.now_ms)
    accepted = [
        decision
        for decision, verdict in zip(batch.decisions, verdicts, strict=True)
        if isinstance(verdict, Accepted)
    ]
    rows = collect(accepted, world)
    touched = [touch(rows, world, wish, batch.now_ms) for wish in batch.touches]
    await _write(session, rows, batch.now_ms)
    claimed = await _claim(session, batch, rows)
    await _write_leases(session, rows)
    await _finish(session, rows, batch.now_ms)
    return Committed(verdicts=verdicts, claimed=claimed, touched=touched)


async def forget_sends(session: Session, workflow_id: str) -> bool:
    """Delete the Sends for a run that is not there; see ``Store.forget_sends``."""
    is_gone: bool = await session.value(statements.IS_GONE, workflow_id)
    if is_gone:
        session.wrote(await session.run(statements.FORGET_SENDS, workflow_id))
    return is_gone


async def _lock(session: Session, keys: Wanted) -> World:
    world = World()
    if keys.runs:
        for row in await session.rows(statements.LOCK_RUNS, keys.runs):
            world.versions[row["id"]] = row["version"]
    if keys.unleased:
        for row in await session.rows(statements.LOCK_QUEUE, keys.unleased):
            (world.queued if row["is_locked"] else world.moved).add(row["task_id"])
    if keys.tasks:
        for row in await session.rows(statements.LOCK_LEASES, keys.tasks):
            world.held[row["task_id"]] = Held(
                lease(row), row["seq"], row["priority"], row["queued_at"]
            )
    if keys.sends:
        found = await session.rows(statements.READ_SENDS, keys.sends)
        world.sends = {row["id"] for row in found}
    if keys.pairs:
        found = await session.rows(statements.READ_PAIRS, *_columns(keys.pairs, 2))
        world.pairs = {(row["sender"], row["workflow_id"]) for row in found}
    if keys.reserves:
        await _lock_reserves(session, keys, world)
    return world


async def _lock_reserves(session: Session, keys: Wanted, world: World) -> None:
    names = {(scope, key_bytes(key)): (scope, key) for scope, key in keys.reserves}
    found = await session.rows(statements.LOCK_RESERVES, *_columns(list(names), 2))
    for row in found:
        name = names[row["scope"], row["key"]]
        world.reserves[name] = (row["workflow_id"], row["until"])


async def _write(session: Session, rows: Rows, now_ms: int) -> None:
    if rows.reserves:
        taken = [row for _, row in sorted(rows.reserves.items())]
        await _put_all(session, statements.PUT_RESERVES, taken, 4, now_ms)
    if rows.runs_new:
        await _put_all(session, statements.ADD_RUNS, sorted(rows.runs_new), _RUN_COLUMNS)
    if rows.runs:
        await _put_all(session, statements.PUT_RUNS, rows.runs, _RUN_COLUMNS)
    if rows.versions:
        await _put_all(session, statements.PUT_VERSIONS, rows.versions, 3)
    if rows.tasks:
        await _put_all(session, statements.PUT_TASKS, rows.tasks, 10)
    if rows.retired:
        count = await session.run(statements.RETIRE_TASKS, *_columns(rows.retired, 3))
        session.wrote(count)
    if rows.queue or rows.queue_gone:
        gone = sorted(rows.queue_gone)
        put = list(rows.queue.values())
        if rows.queue_gone & rows.queue.keys():
            # One statement cannot delete and insert the same row.
            await session.run(statements.CHANGE_QUEUE, gone, *_columns([], 10))
            gone = []
        await session.run(statements.CHANGE_QUEUE, gone, *_columns(put, 10))
        session.wrote(len(rows.queue_gone) + len(put))
    await _write_small(session, rows)


async def _write_small(session: Session, rows: Rows) -> None:
    if rows.timers or rows.timers_gone:
        gone = [key for key in sorted(rows.timers_gone) if key not in rows.timers]
        put = [(*key, due_at_ms) for key, due_at_ms in sorted(rows.timers.items())]
        await session.run(statements.CHANGE_TIMERS, *_columns(gone, 3), *_columns(put, 4))
        session.wrote(len(gone) + len(put))
    if rows.sends or rows.sends_gone:
        await session.run(statements.CHANGE_SENDS, rows.sends_gone, *_columns(rows.sends, 3))
        session.wrote(len(rows.sends_gone) + len(rows.sends))
    if rows.logs:
        await _put_all(session, statements.ADD_LOGS, rows.logs, 4)
    if rows.removed:
        for statement in statements.REMOVE_RUNS:
            session.wrote(await session.run(statement, rows.removed))


async def _claim(session: Session, batch: Batch, rows: Rows) -> list[list[Lease]]:
    if not batch.claims:
        return []
    shares = await room.shares(session, batch) if any(c.parts for c in batch.claims) else None
    wanted_counts = wishes(batch.claims) if shares is None else _sum(shares)
    found = await session.rows(statements.CLAIM, *_columns(list(wanted_counts.items()), 2))
    ready: dict[str, list[Held]] = {}
    for row in found:
        started_at_ms = row["started_at"] or batch.now_ms
        taken = Lease(
            task_id=row["task_id"],
            workflow_id=row["workflow_id"],
            queue=row["queue"],
            worker_id=None,
            poll_count=row["poll_count"] + 1,
            started_at_ms=started_at_ms,
            polled_at_ms=batch.now_ms,
            expires_at_ms=lease_expiry_ms(
                batch.now_ms, started_at_ms, row["lease_ms"], row["timeout_ms"]
            ),
            lease_ms=row["lease_ms"],
            timeout_ms=row["timeout_ms"],
        )
        held = Held(taken, row["seq"], row["priority"], row["at"])
        ready.setdefault(row["queue"], []).append(held)
    session.wrote(len(found))
    if shares is None:
        return [
            _take(rows, ready.get(text(claim.queue), []), claim, claim.count)
            for claim in batch.claims
        ]
    counts = Counter(split_part(row["queue"])[1] for row in found)
    await room.take(session, batch.claims, counts, batch.now_ms)
    return [
        [
            lease
            for name, count in share.items()
            for lease in _take(rows, ready.get(text(name), []), claim, count)
        ]
        for claim, share in zip(batch.claims, shares, strict=True)
    ]


def _sum(shares: "Sequence[dict[str, int]]") -> dict[str, int]:
    total: dict[str, int] = {}
    for share in shares:
        for name, count in share.items():
            total[text(name)] = total.get(text(name), 0) + count
    return total


def _take(rows: Rows, ready: list[Held], claim: Claim, count: int) -> list[Lease]:
    """Move the first ``count`` ready tasks into the claim's hands."""
    leases: list[Lease] = []
    for held in ready[:count]:
        taken = msgspec.structs.replace(held.lease, worker_id=text_or_none(claim.worker_id))
        rows.leases[taken.task_id] = Held(taken, held.seq, held.priority, held.queued_at_ms)
        leases.append(taken)
    del ready[:count]
    return leases


async def _write_leases(session: Session, rows: Rows) -> None:
    gone = sorted(rows.leases_gone - rows.leases.keys())
    if not rows.leases and not gone:
        return
    put = [
        (
            *(held.lease.task_id, held.lease.workflow_id, text(held.lease.queue)),
            *(text_or_none(held.lease.worker_id), held.lease.poll_count),
            held.lease.started_at_ms,
            *(held.lease.polled_at_ms, held.lease.expires_at_ms, held.lease.lease_ms),
            *(held.lease.timeout_ms, held.seq, held.priority, held.queued_at_ms),
        )
        for _, held in sorted(rows.leases.items())
        if held.lease.workflow_id not in rows.removed
    ]
    await session.run(statements.CHANGE_LEASES, gone, *_columns(put, 13))
    session.wrote(len(gone) + len(put))


async def _finish(session: Session, rows: Rows, now_ms: int) -> None:
    await session.run(
        statements.FINISH,
        len(rows.journal),
        now_ms,
        *_columns(rows.journal, 7),
        HINT_CHANNEL,
        _hint(rows),
    )
    session.wrote(len(rows.journal))


def _hint(rows: Rows) -> str:
    """Return what other nodes may want to know, or "" when there is nothing.

    JSON ``{"queues": [name], "sends": bool}``: queues that got rows; none named when they are
    too many, which means any.
    """
    if not rows.queue and not rows.sends:
        return ""
    names = sorted({str(row[3]) for row in rows.queue.values()})
    document = _ENCODER.encode({"queues": names, "sends": bool(rows.sends)})
    if len(document) > HINT_BYTES_MAX:
        document = _ENCODER.encode({"queues": [], "sends": bool(rows.sends)})
    return document.decode()


async def _put_all(
    session: Session, statement: str, rows: "Sequence[Row]", width: int, *rest: object
) -> None:
    """Write rows, each of which must be written: else another node was faster."""
    count = await session.run(statement, *_columns(rows, width), *rest)
    if count != len(rows):
        raise MovedError(f"wrote {count} of {len(rows)} rows: {statement.split()[:4]}")
    session.wrote(count)


def _columns(rows: "Sequence[Row]", width: int) -> "list[Sequence[object]]":
    return list(zip(*rows, strict=True)) if rows else [[] for _ in range(width)]
