"""Write what failed, on the thread that owns the writing connection."""

# ruff: noqa: S608 - what is put into the SQL here are words of this module

import apsw
import msgspec

from batuta.store.failing import ERROR_CHARS_MAX, LEASE, SEND, Failing

_FAILED = "SET attempts = :attempts, retry_at = :retry_at_ms, error = :error"
_OF_TASK = "workflow_id = unhex(:workflow_id, '-') AND task_id = unhex(:task_id, '-')"
_BEFORE = "attempts = :attempts - 1"
_NOTE_SEND = f"UPDATE send {_FAILED} WHERE id = :mark AND {_BEFORE}"
_NOTE_LEASE = f"UPDATE lease {_FAILED} WHERE {_OF_TASK} AND poll_count = :mark AND {_BEFORE}"
_NOTE_TIMER = (
    f"UPDATE timer {_FAILED} WHERE {_OF_TASK} AND kind = :kind AND due_at = :mark AND {_BEFORE}"
)

_REARM = tuple(
    f"UPDATE {table} SET attempts = 0, retry_at = 0, error = ''"
    " WHERE attempts > 0 AND retry_at IS NULL"
    " AND (:workflow_id IS NULL OR workflow_id = unhex(:workflow_id, '-'))"
    for table in ("send", "timer", "lease")
)


def note_failure(connection: apsw.Connection, failing: Failing) -> bool:
    """Write a failure into its row; see ``Quarantine.note_failure``."""
    statement = {SEND: _NOTE_SEND, LEASE: _NOTE_LEASE}.get(failing.kind, _NOTE_TIMER)
    given = msgspec.structs.asdict(failing) | {"error": failing.error[:ERROR_CHARS_MAX]}
    connection.execute(statement, given)
    return connection.changes() > 0


def rearm(connection: apsw.Connection, workflow_id: str | None) -> int:
    """Let quarantined rows be due again; see ``Quarantine.rearm``."""
    count = 0
    with connection:
        for statement in _REARM:
            connection.execute(statement, {"workflow_id": workflow_id})
            count += connection.changes()
    return count
