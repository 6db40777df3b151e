"""What wants a command, and what has failed when it was one."""

# ruff: noqa: S608 - what is put into the SQL here are expressions of this package

from batuta.store.base import Due, DueTimer, PendingSend
from batuta.store.failing import LEASE, SEND, Failing
from batuta.store.postgres.judge import is_id
from batuta.store.postgres.link import Record, Session
from batuta.store.postgres.read import lease
from batuta.store.postgres.rows import WHOLE_RUN
from batuta.store.postgres.statements import LEASE_COLUMNS

_TIMERS = """
SELECT workflow_id::text, task_id::text, kind, due_at FROM timer
WHERE attempts = 0 AND due_at <= $1
ORDER BY due_at, workflow_id, task_id, kind LIMIT $2
"""

_LEASES = f"""
SELECT {LEASE_COLUMNS} FROM lease WHERE attempts = 0 AND expires_at <= $1
ORDER BY expires_at, lease.task_id LIMIT $2
"""

# What one run sends to another stays in order: behind a failing one nothing of the two is due.
_IS_NEXT = """NOT EXISTS (
    SELECT 1 FROM send AS failed WHERE failed.workflow_id = send.workflow_id
    AND failed.sender = send.sender AND failed.attempts > 0 AND failed.id < send.id
)"""
_SENDS = f"""
SELECT id, workflow_id::text, doc FROM send
WHERE id IN (
    SELECT min(id) FROM send WHERE attempts = 0 AND {_IS_NEXT} GROUP BY workflow_id
    UNION ALL
    SELECT id FROM send WHERE attempts > 0 AND retry_at <= $1 AND {_IS_NEXT}
) ORDER BY id LIMIT $2
"""


def _failing(wanted: str) -> str:
    common = "attempts, retry_at, error FROM"
    return f"""
    SELECT workflow_id::text, '{SEND}' AS kind, '' AS task_id, id AS mark, {common} send
    WHERE attempts > 0 AND {wanted}
    UNION ALL
    SELECT workflow_id::text, kind, task_id::text, due_at, {common} timer
    WHERE attempts > 0 AND {wanted}
    UNION ALL
    SELECT workflow_id::text, '{LEASE}', task_id::text, poll_count, {common} lease
    WHERE attempts > 0 AND {wanted}
    ORDER BY retry_at NULLS FIRST LIMIT $2
    """


_FAILING_DUE = _failing("retry_at <= $1")
_FAILING = _failing("($1::uuid IS NULL OR workflow_id = $1::uuid)")


async def due(session: Session, until_ms: int, limit: int) -> Due:
    """Return what wants a command; see ``Store.due``."""
    timers = await session.rows(_TIMERS, until_ms, limit)
    leases = await session.rows(_LEASES, until_ms, limit)
    sends = await session.rows(_SENDS, until_ms, limit)
    failed = await session.rows(_FAILING_DUE, until_ms, limit)
    return Due(
        timers=[
            DueTimer(
                workflow_id=row["workflow_id"],
                task_id="" if row["task_id"] == WHOLE_RUN else row["task_id"],
                kind=row["kind"],
                due_at_ms=row["due_at"],
            )
            for row in timers
        ],
        leases=[lease(row) for row in leases],
        sends=[
            PendingSend(send_id=row["id"], workflow_id=row["workflow_id"], document=row["doc"])
            for row in sends
        ],
        failing=[_failed(row) for row in failed],
    )


async def failing(session: Session, workflow_id: str | None, limit: int) -> list[Failing]:
    """Return the rows that have failed; see ``Quarantine.failing``."""
    if workflow_id is not None and not is_id(workflow_id):
        return []
    return [_failed(row) for row in await session.rows(_FAILING, workflow_id, limit)]


def _failed(row: Record) -> Failing:
    return Failing(
        workflow_id=row["workflow_id"],
        kind=row["kind"],
        task_id="" if row["task_id"] == WHOLE_RUN else row["task_id"],
        mark=row["mark"],
        attempts=row["attempts"],
        error=row["error"],
        retry_at_ms=row["retry_at"],
    )
