"""Read what is due and what has failed, on a thread that owns a reading connection."""

# ruff: noqa: S608 - what is put into the SQL here are expressions of this package

import contextlib
from typing import Any

import apsw
import msgspec

from batuta.model.execution import Lease
from batuta.store.base import Due, DueTimer, PendingSend
from batuta.store.failing import LEASE, SEND, Failing
from batuta.store.sqlite.reading import Cut, lease_json
from batuta.store.sqlite.statements import uuid

_TIMERS = f"""
SELECT json_group_array(json_object(
    'workflow_id', {uuid("workflow_id")}, 'kind', kind, 'due_at_ms', due_at,
    'task_id', iif(length(task_id), {uuid("task_id")}, '')
)) FROM (
    SELECT * FROM timer WHERE attempts = 0 AND due_at <= :until
    ORDER BY due_at, workflow_id, task_id, kind LIMIT :limit
)
"""
_EXPIRED = f"""
SELECT json_group_array(json({lease_json("late")})) FROM (
    SELECT * FROM lease WHERE attempts = 0 AND expires_at <= :until
    ORDER BY expires_at, task_id LIMIT :limit
) late
"""
_EXPIRED_EACH = f"""
SELECT CAST({lease_json("late")} AS BLOB) FROM (
    SELECT * FROM lease WHERE attempts = 0 AND expires_at <= :until
    ORDER BY expires_at, task_id LIMIT :limit
) late
"""
# What one run sends to another stays in order: behind a failing one nothing of the two is due.
_IS_NEXT = """NOT EXISTS (
    SELECT 1 FROM send failed WHERE failed.workflow_id = send.workflow_id
    AND failed.sender = send.sender AND failed.attempts > 0 AND failed.id < send.id
)"""
_SENDS = f"""
SELECT '[' || coalesce(group_concat(json_array(id, {uuid("workflow_id")}, length(doc))), '') || ']',
    CAST(group_concat(doc, '') AS BLOB)
FROM (
    SELECT * FROM send WHERE id IN (
        SELECT min(id) FROM send WHERE attempts = 0 AND {_IS_NEXT} GROUP BY workflow_id
        UNION ALL
        SELECT id FROM send WHERE attempts > 0 AND retry_at <= :until AND {_IS_NEXT}
    ) ORDER BY id LIMIT :limit
)
"""


def _failing(table: str, kind: str, task_id: str, mark: str, wanted: str) -> str:
    return (
        f"SELECT retry_at, json_object('workflow_id', {uuid('workflow_id')}, 'kind', {kind},"
        f" 'task_id', {task_id}, 'mark', {mark}, 'attempts', attempts,"
        f" 'retry_at_ms', retry_at, 'error', error) AS document"
        f" FROM {table} WHERE attempts > 0 AND {wanted}"
    )


def _all_failing(wanted: str) -> str:
    some_task = f"iif(length(task_id), {uuid('task_id')}, '')"
    parts = (
        _failing("send", f"'{SEND}'", "''", "id", wanted),
        _failing("timer", "kind", some_task, "due_at", wanted),
        _failing("lease", f"'{LEASE}'", uuid("task_id"), "poll_count", wanted),
    )
    return (
        "SELECT json_group_array(json(document)) FROM ("
        f"SELECT * FROM ({' UNION ALL '.join(parts)})"
        " ORDER BY retry_at IS NOT NULL, retry_at LIMIT :limit)"
    )


_FAILING_DUE = _all_failing("retry_at <= :until")
_FAILING_ALL = _all_failing("true")
_FAILING_OF_RUN = _all_failing("workflow_id = unhex(:workflow_id, '-')")

_LEASES = msgspec.json.Decoder(list[Lease])
_FAILINGS = msgspec.json.Decoder(list[Failing])


def due(connection: apsw.Connection, until_ms: int, limit: int) -> Due:
    """Return what wants a command; see ``Store.due``."""
    asked = {"until": until_ms, "limit": limit}
    timers = connection.execute(_TIMERS, asked).get
    leases = _expired(connection, asked)
    row = connection.execute(_SENDS, asked).fetchone()
    failed = connection.execute(_FAILING_DUE, asked).get
    assert row is not None, "an aggregate without GROUP BY has one row"
    cut = Cut(row[1])
    return Due(
        timers=msgspec.json.decode(timers, type=list[DueTimer]),
        leases=leases,
        sends=[
            PendingSend(send_id=send_id, workflow_id=workflow_id, document=cut.bytes(size))
            for send_id, workflow_id, size in msgspec.json.decode(
                str(row[0]), type=list[tuple[int, str, int]]
            )
        ],
        failing=_FAILINGS.decode(failed),
    )


def _expired(connection: apsw.Connection, asked: dict[str, int]) -> list[Lease]:
    """Return ended leases; a damaged one does not keep the others from being seen."""
    try:
        return _LEASES.decode(connection.execute(_EXPIRED, asked).get)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        found = []
        rows: list[Any] = connection.execute(_EXPIRED_EACH, asked).fetchall()
        for [document] in rows:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                found.append(msgspec.json.decode(document, type=Lease))
        return found


def failing(connection: apsw.Connection, workflow_id: str | None, limit: int) -> list[Failing]:
    """Return the rows that have failed; see ``Quarantine.failing``."""
    statement = _FAILING_ALL if workflow_id is None else _FAILING_OF_RUN
    asked = {"workflow_id": workflow_id, "limit": limit}
    return _FAILINGS.decode(connection.execute(statement, asked).get)
