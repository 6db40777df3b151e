"""Write what failed into its own row."""

# ruff: noqa: S608 - what is put into the SQL here are words of this module

from batuta.store.failing import ERROR_CHARS_MAX, LEASE, SEND, Failing
from batuta.store.postgres.judge import is_id
from batuta.store.postgres.link import Session
from batuta.store.postgres.rows import WHOLE_RUN, text

_FAILED = "SET attempts = $1, retry_at = $2, error = $3"
_BEFORE = "attempts = $1 - 1"
_OF_TASK = "workflow_id = $5::uuid AND task_id = $6::uuid"
_NOTE_SEND = f"UPDATE send {_FAILED} WHERE id = $4 AND {_BEFORE}"
_NOTE_LEASE = f"UPDATE lease {_FAILED} WHERE {_OF_TASK} AND poll_count = $4 AND {_BEFORE}"
_NOTE_TIMER = f"UPDATE timer {_FAILED} WHERE {_OF_TASK} AND kind = $7 AND due_at = $4 AND {_BEFORE}"

# The order of rows in which commits lock these tables, so that nobody waits in a circle.
_REARM = tuple(
    f"UPDATE {table} SET attempts = 0, retry_at = 0, error = ''"
    " WHERE attempts > 0 AND retry_at IS NULL AND ($1::uuid IS NULL OR workflow_id = $1::uuid)"
    for table in ("lease", "timer", "send")
)


async def note_failure(session: Session, failing: Failing) -> bool:
    """Write a failure into its row; see ``Quarantine.note_failure``."""
    error = text(failing.error)[:ERROR_CHARS_MAX]
    given: list[object] = [failing.attempts, failing.retry_at_ms, error, failing.mark]
    if failing.kind == SEND:
        count = await session.run(_NOTE_SEND, *given)
    else:
        given += [failing.workflow_id, failing.task_id or WHOLE_RUN]
        if failing.kind == LEASE:
            count = await session.run(_NOTE_LEASE, *given)
        else:
            count = await session.run(_NOTE_TIMER, *given, failing.kind)
    session.wrote(count)
    return count > 0


async def rearm(session: Session, workflow_id: str | None) -> int:
    """Let quarantined rows be due again; see ``Quarantine.rearm``."""
    if workflow_id is not None and not is_id(workflow_id):
        return 0
    count = 0
    for statement in _REARM:
        count += await session.run(statement, workflow_id)
    session.wrote(count)
    return count
