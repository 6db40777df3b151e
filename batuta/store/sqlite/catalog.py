"""Documents, snapshots, searches: statements that no completion waits for."""

from collections.abc import Sequence

import apsw
import msgspec

from batuta.model.execution import Workflow, WorkflowStatus
from batuta.store.base import Document, LogLine, QueueDepth
from batuta.store.query.tree import count_limit
from batuta.store.sqlite.reading import read_rows, with_columns

_EXISTS = "SELECT count(*) FROM document WHERE kind = ? AND name = ? AND version = ?"
_PUT = """
INSERT INTO document (kind, name, version, body, owner, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, name, version) DO UPDATE SET
    body = excluded.body, owner = excluded.owner, updated_at = excluded.updated_at
"""
_DOCUMENTS = """
SELECT kind, name, version, body, owner, created_at, updated_at FROM document
WHERE kind = :kind AND (:name IS NULL OR name = :name) AND (:version = 0 OR version = :version)
ORDER BY name, version
"""


def put_documents(
    connection: apsw.Connection, documents: Sequence[Document], *, overwrite: bool
) -> list[bool]:
    """Store all documents or none; see ``Catalog.put_documents``."""
    answers = []
    with connection:
        for document in documents:
            key = (document.kind, document.name, document.version)
            answers.append(overwrite or not connection.execute(_EXISTS, key).get)
        if not all(answers):
            return answers
        for document in documents:
            connection.execute(_PUT, msgspec.structs.astuple(document))
    return answers


def documents(
    connection: apsw.Connection, kind: str, name: str | None, version: int = 0
) -> list[Document]:
    """Return documents by name and version; ``version`` 0 means all."""
    asked = {"kind": kind, "name": name, "version": version}
    rows = connection.execute(_DOCUMENTS, asked).fetchall()
    fields = Document.__struct_fields__
    return [msgspec.convert(dict(zip(fields, row, strict=True)), Document) for row in rows]


def delete_document(connection: apsw.Connection, kind: str, name: str, version: int) -> bool:
    """Delete one version (0: all); False when there was none."""
    connection.execute(
        "DELETE FROM document WHERE kind = ? AND name = ? AND ?3 IN (0, version)",
        (kind, name, version),
    )
    return connection.changes() > 0


def put_snapshot(connection: apsw.Connection, digest: str, body: bytes) -> None:
    """Keep a snapshot; again is the same."""
    connection.execute("INSERT OR IGNORE INTO snapshot VALUES (?, ?)", (digest, body))


def get_snapshot(connection: apsw.Connection, digest: str) -> bytes | None:
    """Return a snapshot's body, or None."""
    found = connection.execute("SELECT body FROM snapshot WHERE digest = ?", (digest,)).get
    return found if isinstance(found, bytes) else None


_RECENT = """
SELECT '[' || version || ',' || updated_at || ',' || doc || ']' AS found
FROM workflow {filter} ORDER BY created_at DESC, id LIMIT :limit
"""
_RECENT_ALL = _RECENT.format(filter="")
_RECENT_OF_STATUS = _RECENT.format(filter="WHERE status = :status")
_RECENT_ROWS = msgspec.json.Decoder(list[tuple[int, int, Workflow]])


def recent(connection: apsw.Connection, limit: int, status: str | None) -> list[Workflow]:
    """Return the newest runs by creation."""
    statement = _RECENT_ALL if status is None else _RECENT_OF_STATUS
    rows = read_rows(connection, statement, {"limit": limit, "status": status}, _RECENT_ROWS)
    return [with_columns(workflow, version, at_ms) for version, at_ms, workflow in rows]


_COUNTS = """
SELECT value, (
    SELECT count(*) FROM (SELECT 1 FROM workflow WHERE status = value LIMIT ?1)
) FROM json_each(?2)
"""


def counts(connection: apsw.Connection) -> dict[str, int]:
    """Return how many runs have each status, as far as they are counted."""
    statuses = msgspec.json.encode(list(WorkflowStatus)).decode()
    rows = connection.execute(_COUNTS, (count_limit(0, 0) + 1, statuses)).fetchall()
    return {str(status): int(str(count)) for status, count in rows if count}


_QUEUES = """
SELECT json_group_array(json_object(
    'queue', queue, 'ready', ready, 'leased', leased, 'oldest_at_ms', oldest
)) FROM (
    SELECT queue, sum(ready) AS ready, sum(leased) AS leased, max(oldest) AS oldest FROM (
        SELECT queue, count(*) AS ready, 0 AS leased, min(at) AS oldest
        FROM queue GROUP BY queue
        UNION ALL
        SELECT queue, 0, count(*), 0 FROM lease GROUP BY queue
    ) GROUP BY queue ORDER BY queue
)
"""


def queues(connection: apsw.Connection) -> list[QueueDepth]:
    """Return the queues that have ready or leased tasks, by name."""
    text = connection.execute(_QUEUES).get
    return msgspec.json.decode(str(text), type=list[QueueDepth])


def logs(connection: apsw.Connection, task_id: str) -> list[LogLine]:
    """Return a task's log, oldest first."""
    rows = connection.execute(
        "SELECT at, line FROM log WHERE task_id = unhex(?, '-') ORDER BY at, id", (task_id,)
    ).fetchall()
    return [
        LogLine(task_id=task_id, created_at_ms=int(str(at)), line=str(line)) for at, line in rows
    ]
