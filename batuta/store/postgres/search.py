"""The journal in commit order, and query-only views."""

from batuta.model.execution import Workflow, WorkflowStatus
from batuta.store.base import Entry, JournalRow, LogLine, QueueDepth
from batuta.store.postgres.judge import is_id
from batuta.store.postgres.link import Session
from batuta.store.postgres.read import readable, workflow
from batuta.store.query.tree import count_limit

_JOURNAL = """
SELECT position, workflow_id::text, version, at, kind, actor, request_id, changed
FROM journal WHERE position > $1 AND ($2::uuid IS NULL OR workflow_id = $2)
ORDER BY position LIMIT $3
"""

_RECENT = """
SELECT doc, version, updated_at FROM workflow WHERE ($1::text IS NULL OR status = $1)
ORDER BY created_at DESC, id LIMIT $2
"""

_COUNTS = """
SELECT status, (
    SELECT count(*) FROM (SELECT FROM workflow AS w WHERE w.status = s.status LIMIT $2) AS counted
) AS count FROM unnest($1::text[]) AS s (status)
"""

_QUEUES = """
WITH ready AS (
    SELECT queue, count(*) AS ready, min(at) AS oldest FROM queue GROUP BY queue
), leased AS (
    SELECT queue, count(*) AS leased FROM lease GROUP BY queue
)
SELECT queue, coalesce(ready, 0) AS ready, coalesce(leased, 0) AS leased,
    coalesce(oldest, 0) AS oldest
FROM ready FULL JOIN leased USING (queue) ORDER BY queue
"""

_LOGS = "SELECT at, line FROM log WHERE task_id = $1::uuid ORDER BY at, id"


async def read_after(
    session: Session, position: int, *, limit: int, workflow_id: str | None
) -> list[JournalRow]:
    """Return rows after ``position`` (0 = from the start), oldest first."""
    if workflow_id is not None and not is_id(workflow_id):
        return []
    return [
        JournalRow(
            position=row["position"],
            workflow_id=row["workflow_id"],
            entry=Entry(
                version=row["version"],
                at_ms=row["at"],
                kind=row["kind"],
                actor=row["actor"],
                request_id=row["request_id"],
                changed=row["changed"],
            ),
        )
        for row in await session.rows(_JOURNAL, position, workflow_id, limit)
    ]


async def recent(session: Session, *, limit: int, status: str | None) -> list[Workflow]:
    """Return the newest runs by creation."""
    return readable(await session.rows(_RECENT, status, limit), workflow)


async def counts(session: Session) -> dict[str, int]:
    """Return how many runs have each status, as far as they are counted."""
    statuses = [status.value for status in WorkflowStatus]
    rows = await session.rows(_COUNTS, statuses, count_limit(0, 0) + 1)
    return {row["status"]: row["count"] for row in rows if row["count"]}


async def queues(session: Session) -> list[QueueDepth]:
    """Return the queues that have ready or leased tasks, by name."""
    return [
        QueueDepth(
            queue=row["queue"],
            ready=row["ready"],
            leased=row["leased"],
            oldest_at_ms=row["oldest"],
        )
        for row in await session.rows(_QUEUES)
    ]


async def logs(session: Session, task_id: str) -> list[LogLine]:
    """Return a task's log, oldest first."""
    if not is_id(task_id):
        return []
    return [
        LogLine(
            task_id=task_id,
            created_at_ms=row["at"],
            line=row["line"].decode("utf-8", "surrogatepass"),
        )
        for row in await session.rows(_LOGS, task_id)
    ]
