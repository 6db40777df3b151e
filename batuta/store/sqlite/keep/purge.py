"""Finding and removing what is old: slices on the writing thread, each a short transaction.

Answers are one row, as everywhere here: rowids travel as one JSON array and come back as one
parameter. See ``store.keep`` for the promises.
"""

# ruff: noqa: S608 - what is put into the SQL here are expressions of this package

from collections.abc import Sequence

import apsw
import msgspec

from batuta.store.keep import Ended
from batuta.store.sqlite.statements import uuid

_encode = msgspec.json.Encoder().encode
_RUNS = msgspec.json.Decoder(list[Ended])

REMOVALS_MAX = 100  # removed runs that one slice looks at; bounds what it reads

# Walks from name to name, not over every run.
_NAMES = """
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM workflow WHERE ended_at > 0
    UNION ALL
    SELECT (SELECT min(name) FROM workflow WHERE ended_at > 0 AND name > found.name)
    FROM found WHERE found.name IS NOT NULL
)
SELECT json_group_array(name) FROM found WHERE name IS NOT NULL
"""

_OF_NAME = """
name = :name AND ended_at > 0
AND status IN (SELECT value FROM json_each(CAST(:statuses AS TEXT)))
"""
_CUT = f"""
SELECT ended_at, id FROM workflow WHERE {_OF_NAME}
ORDER BY ended_at DESC, id DESC LIMIT 1 OFFSET :keep_count - 1
"""

_IS_ENDED = "workflow.status NOT IN ('RUNNING', 'PAUSED')"
_IS_FREE = """
NOT EXISTS (SELECT 1 FROM send WHERE send.workflow_id = workflow.id)
AND NOT EXISTS (
    WITH RECURSIVE above (id) AS (
        SELECT workflow.parent_id
        UNION
        SELECT parent.parent_id FROM above CROSS JOIN workflow parent ON parent.id = above.id
    )
    SELECT 1 FROM above CROSS JOIN workflow parent ON parent.id = above.id
    WHERE parent.status IN ('RUNNING', 'PAUSED')
)
"""
_FOUND = f"""
SELECT json_group_array(json_object('workflow_id', {uuid("id")}, 'version', version)) FROM (
    SELECT id, version FROM workflow
    WHERE {_OF_NAME} AND (ended_at, id) < (:at, :id) AND {_IS_ENDED} AND {_IS_FREE}
    ORDER BY ended_at, id LIMIT :limit
)
"""

_PURGED = f"""
SELECT json_group_array(json_object('workflow_id', {uuid("id")}, 'version', version)) FROM (
    SELECT workflow.id, workflow.version FROM json_each(CAST(:runs AS TEXT)) wanted
    CROSS JOIN workflow ON workflow.id = unhex(wanted.value ->> 'workflow_id', '-')
        AND workflow.version = wanted.value ->> 'version'
    WHERE {_IS_ENDED} AND {_IS_FREE}
)
"""
_GONE = "(SELECT unhex(value ->> 'workflow_id', '-') FROM json_each(CAST(:runs AS TEXT)))"
_PURGE = f"""
DELETE FROM payload WHERE seq = 0 AND workflow_id IN {_GONE};
DELETE FROM timer WHERE workflow_id IN {_GONE};
DELETE FROM lease WHERE workflow_id IN {_GONE};
DELETE FROM reserve WHERE workflow_id IN {_GONE};
DELETE FROM workflow WHERE id IN {_GONE};
INSERT INTO journal (workflow_id, version, at, kind, actor, request_id, changed)
SELECT unhex(value ->> 'workflow_id', '-'), (value ->> 'version') + 1, :now, 'remove',
    'retention', '', CAST('{{}}' AS BLOB)
FROM json_each(CAST(:runs AS TEXT));
"""

_TASKS_OF = f"""
SELECT json_group_array(place) FROM (
    SELECT rowid AS place FROM task WHERE workflow_id IN {_GONE} LIMIT :limit
)
"""
_RETIRED = """
SELECT json_group_array(place) FROM (
    SELECT task.rowid AS place FROM task CROSS JOIN journal
        ON journal.workflow_id = task.workflow_id AND journal.version = task.version
    WHERE task.retired = 1 AND journal.at < :before LIMIT :limit
)
"""
_DOOMED = "task WHERE rowid IN (SELECT value FROM json_each(CAST(:places AS TEXT)))"
_DELETE_TASKS = f"""
DELETE FROM queue WHERE task_id IN (SELECT task_id FROM {_DOOMED});
DELETE FROM log WHERE task_id IN (SELECT task_id FROM {_DOOMED});
DELETE FROM payload WHERE (workflow_id, seq) IN (SELECT workflow_id, seq FROM {_DOOMED});
DELETE FROM {_DOOMED};
"""

_REMOVALS = f"""
SELECT json_group_array(json_object('workflow_id', {uuid("workflow_id")}, 'version', version))
FROM (
    SELECT workflow_id, version FROM journal
    WHERE kind = 'remove' AND at < :before
    AND position < min(:position, (SELECT max(position) FROM journal))
    AND NOT EXISTS (SELECT 1 FROM workflow WHERE workflow.id = journal.workflow_id)
    ORDER BY at LIMIT :limit
)
"""
_ENTRIES = """
DELETE FROM journal WHERE position IN (
    SELECT position FROM journal WHERE workflow_id IN {gone} AND kind {kind} 'remove'
    AND position < (SELECT max(position) FROM journal) LIMIT :limit
)
"""
_EARLIER_ENTRIES = _ENTRIES.format(gone=_GONE, kind="<>")
_LAST_ENTRIES = _ENTRIES.format(gone=_GONE, kind="=")
_POSITION_MAX = 2**63 - 1


def ended_names(connection: apsw.Connection) -> list[str]:
    """Return the names of workflows that have ended runs."""
    return msgspec.json.decode(str(connection.execute(_NAMES).get), type=list[str])


def find_ended(
    connection: apsw.Connection,
    name: str,
    statuses: Sequence[str],
    *,
    before_ms: int,
    keep_count: int,
    limit: int,
) -> list[Ended]:
    """Return runs that are to go; see ``Keep.find_ended``."""
    asked = {"name": name, "statuses": _encode(list(statuses)), "limit": limit}
    cut: tuple[object, object] = (before_ms, b"")
    if keep_count > 0:
        row = connection.execute(_CUT, asked | {"keep_count": keep_count}).fetchone()
        if row is not None and int(str(row[0])) >= before_ms:
            cut = (row[0], row[1])
    found = connection.execute(_FOUND, asked | {"at": cut[0], "id": cut[1]}).get
    return _RUNS.decode(str(found))


def purge(
    connection: apsw.Connection, runs: Sequence[Ended], *, now_ms: int, rows_max: int
) -> list[str]:
    """Remove runs that are as they were found; see ``Keep.purge``."""
    with connection:
        purged = str(connection.execute(_PURGED, {"runs": _named(runs)}).get)
        gone = {"runs": purged.encode(), "now": now_ms, "limit": rows_max}
        places = connection.execute(_TASKS_OF, gone).get
        _delete_tasks(connection, str(places))
        connection.execute(_PURGE, gone)
    return [run.workflow_id for run in _RUNS.decode(purged)]


def purge_retired(connection: apsw.Connection, *, before_ms: int, rows_max: int) -> int:
    """Delete retired tasks; see ``Keep.purge_retired``."""
    deleted = 0
    with connection:
        places = connection.execute(_RETIRED, {"before": before_ms, "limit": rows_max}).get
        deleted += _delete_tasks(connection, str(places))
    return deleted


def purge_removed(
    connection: apsw.Connection, *, before_ms: int, position_max: int | None, rows_max: int
) -> int:
    """Delete what is left of removed runs; see ``Keep.purge_removed``."""
    position = _POSITION_MAX if position_max is None else position_max + 1
    asked = {"before": before_ms, "position": position, "limit": min(REMOVALS_MAX, rows_max)}
    with connection:
        gone = str(connection.execute(_REMOVALS, asked).get).encode()
        places = connection.execute(_TASKS_OF, {"runs": gone, "limit": rows_max}).get
        deleted = _delete_tasks(connection, str(places))
        # The removal itself goes last: while it is there, the rest is found again.
        for statement in (_EARLIER_ENTRIES, _LAST_ENTRIES):
            if deleted < rows_max:
                connection.execute(statement, {"runs": gone, "limit": rows_max - deleted})
                deleted += connection.changes()
    return deleted


def _named(runs: Sequence[Ended]) -> bytes:
    return _encode([msgspec.structs.asdict(run) for run in runs])


def _delete_tasks(connection: apsw.Connection, places: str) -> int:
    connection.execute(_DELETE_TASKS, {"places": places.encode()})
    return connection.changes()
