# ruff: noqa: S608 - the statements are put together from constants of this file
"""What must be true of a SQLite database whenever no server has it: by SQL and by its journal.

The tests of faults end with it, and so does `batuta doctor` on a user's own data.
"""

import itertools
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec.structs import replace

from batuta.core.journal import fold
from batuta.model.execution import Task, TaskStatus, Workflow, WorkflowStatus
from batuta.model.payload import Payload
from batuta.store.blob.folder import Folder
from batuta.store.blob.reference import REFERENCE_BYTES, Place, decode

FAULTS_MAX = 100  # that one scan gives; who has more has one cause, and needs no more to find it

_LIVE = "coalesce(t.doc ->> 's', 'SCHEDULED') IN ('SCHEDULED', 'IN_PROGRESS') AND NOT t.retired"
_STATUSES = ", ".join(f"'{status.value}'" for status in WorkflowStatus)
_OPEN = "w.status IN ('RUNNING', 'PAUSED')"

# Each gives one row for each fault, with what tells it from others.
RULES = {
    "a RUNNING run has a live task, a timer or a Send": f"""
        SELECT hex(w.id) FROM workflow w WHERE w.status = 'RUNNING'
        AND NOT EXISTS (SELECT 1 FROM task t WHERE t.workflow_id = w.id AND {_LIVE})
        AND NOT EXISTS (SELECT 1 FROM timer x WHERE x.workflow_id = w.id)
        AND NOT EXISTS (SELECT 1 FROM send x WHERE x.workflow_id = w.id)""",
    "an ended run has no live task": f"""
        SELECT hex(w.id), t.seq FROM workflow w JOIN task t ON t.workflow_id = w.id
        WHERE NOT {_OPEN} AND {_LIVE}""",
    "a queue row belongs to a live task": f"""
        SELECT q.queue, hex(q.task_id) FROM queue q
        LEFT JOIN task t ON t.task_id = q.task_id AND {_LIVE}
        LEFT JOIN workflow w ON w.id = t.workflow_id AND {_OPEN}
        WHERE w.id IS NULL OR q.workflow_id <> w.id""",
    "a lease belongs to a live task": f"""
        SELECT l.queue, hex(l.task_id) FROM lease l
        LEFT JOIN task t ON t.task_id = l.task_id AND {_LIVE}
        LEFT JOIN workflow w ON w.id = t.workflow_id AND {_OPEN}
        WHERE w.id IS NULL OR l.workflow_id <> w.id""",
    "a timer belongs to a live task or an open run": f"""
        SELECT hex(x.workflow_id), hex(x.task_id), x.kind FROM timer x
        LEFT JOIN workflow w ON w.id = x.workflow_id AND {_OPEN}
        LEFT JOIN task t ON t.task_id = x.task_id AND t.workflow_id = w.id AND {_LIVE}
        WHERE w.id IS NULL OR (length(x.task_id) > 0 AND t.task_id IS NULL)""",
    "no task is both queued and leased": """
        SELECT hex(task_id) FROM queue WHERE task_id IN (SELECT task_id FROM lease)""",
    "a worker's live task is queued, leased or delayed": f"""
        SELECT hex(t.task_id) FROM task t JOIN workflow w ON w.id = t.workflow_id
        WHERE {_OPEN} AND {_LIVE} AND t.doc ->> 'qu' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM queue x WHERE x.task_id = t.task_id)
        AND NOT EXISTS (SELECT 1 FROM lease x WHERE x.task_id = t.task_id)
        AND NOT EXISTS (SELECT 1 FROM timer x
                        WHERE x.workflow_id = w.id AND x.task_id = t.task_id)""",
    "a run has one journal row for each version": """
        SELECT hex(w.id), w.version, count(j.version), max(j.version) FROM workflow w
        LEFT JOIN journal j ON j.workflow_id = w.id GROUP BY w.id
        HAVING count(j.version) <> w.version OR max(j.version) <> w.version""",
    "a journal row belongs to a run, or to one that was removed": """
        SELECT hex(workflow_id) FROM journal
        WHERE workflow_id NOT IN (SELECT id FROM workflow)
        AND workflow_id NOT IN (SELECT workflow_id FROM journal WHERE kind = 'remove')""",
    "a removed run is gone": """
        SELECT hex(id) FROM workflow
        WHERE id IN (SELECT workflow_id FROM journal WHERE kind = 'remove')""",
    "a task was last written by a version of its run": """
        SELECT hex(t.task_id) FROM task t LEFT JOIN workflow w ON w.id = t.workflow_id
        WHERE t.version > w.version OR (w.id IS NULL AND t.workflow_id NOT IN (
            SELECT workflow_id FROM journal WHERE kind = 'remove'))""",
    "a Send is for a run that exists, or starts one": """
        SELECT id, CAST(doc AS TEXT) FROM send WHERE CAST(doc AS TEXT) ->> 'type' <> 'start'
        AND workflow_id NOT IN (SELECT id FROM workflow)""",
    "a payload belongs to a run": """
        SELECT hex(workflow_id), seq, part FROM payload
        WHERE workflow_id NOT IN (SELECT id FROM workflow)
        AND workflow_id NOT IN (SELECT workflow_id FROM journal WHERE kind = 'remove')""",
    "a definition can be read": """
        SELECT kind, name, version FROM document WHERE NOT json_valid(CAST(body AS TEXT))
        UNION ALL
        SELECT 'snapshot', digest, 0 FROM snapshot WHERE NOT json_valid(CAST(body AS TEXT))""",
    "an open run has its definition": f"""
        SELECT hex(id), definition FROM workflow w
        WHERE {_OPEN} AND definition NOT IN (SELECT digest FROM snapshot)""",
    "a run's status has a name": f"""
        SELECT hex(id), CAST(status AS BLOB) FROM workflow WHERE status NOT IN ({_STATUSES})""",
    "a task's large payloads are there": """
        SELECT hex(t.workflow_id), t.seq FROM task t
        LEFT JOIN payload i ON i.workflow_id = t.workflow_id AND i.seq = t.seq AND i.part = 'input'
        LEFT JOIN payload o ON o.workflow_id = t.workflow_id AND o.seq = t.seq AND o.part = 'output'
        WHERE (t.input IS NULL AND t.input_size IS NOT NULL AND i.seq IS NULL)
        OR (t.output IS NULL AND t.output_size IS NOT NULL AND o.seq IS NULL)""",
    "the file is whole": "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
}


Entries = Sequence[tuple[int, int, bytes]]  # of a run's journal: version, time, document


def scan(path: Path, blobs: Path | None = None) -> list[str]:
    """Return the breaches of a rule, FAULTS_MAX at most; empty when all is as it must be.

    The file is only read. Memory is that of the largest run.

    Args:
        blobs: The folder of large payloads; None: the one beside the database.

    Raises:
        apsw.Error: It cannot be read: it is no database, or damaged.
    """
    with closing(connect(path)) as connection:
        folder = Folder(blobs or path.with_name(f"{path.name}-blobs"))
        found = itertools.chain(
            _scan_rows(connection), _scan_blobs(connection, folder), _scan_journals(connection)
        )
        return list(itertools.islice(found, FAULTS_MAX))


def connect(path: Path) -> apsw.Connection:
    """Open a database that exists, to look at it."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _scan_rows(connection: apsw.Connection) -> Iterator[str]:
    for rule, statement in RULES.items():
        try:
            for row in connection.execute(statement):
                yield f"{rule}: {row}"
        # One row's garbage is told below, by the run that it is in.
        except (apsw.SQLError, UnicodeDecodeError) as error:
            yield f"{rule}: cannot be told of all rows ({error})"


# Only what is as short as a reference is looked at.
_REFERENCES = " UNION ALL ".join(
    f"SELECT lower(hex({key})), {seq}, '{part}', {part} FROM {table}"
    f" WHERE {part}_size = {REFERENCE_BYTES}"
    for table, key, seq, parts in (
        ("workflow", "id", "0", ("input", "output", "variables")),
        ("task", "workflow_id", "seq", ("input", "output")),
    )
    for part in parts
)


def _scan_blobs(connection: apsw.Connection, folder: Folder) -> Iterator[str]:
    """Look for the file of each payload that has one, and for its size."""
    rows: Any = connection.execute(_REFERENCES)
    for run, seq, part, raw in rows:
        reference = decode(Payload(raw))
        if reference is not None:
            place = Place(str(uuid.UUID(run)), seq, part)
            if folder.size_bytes(place, reference.name) != reference.size_bytes:
                yield f"a large payload has its file, whole: {part!r} of seq {seq} of {run}"


def _scan_journals(connection: apsw.Connection) -> Iterator[str]:
    """Fold each run's journal: it gives the stored headers, and no task ends twice."""
    headers = "SELECT id, version, CAST(doc AS BLOB) FROM workflow"
    for run, version, document in connection.execute(headers):
        try:
            stored = replace(msgspec.json.decode(_bytes(document), type=Workflow), version=version)
            yield from _scan_journal(connection, run, stored)
        # Whatever is in a damaged row, the others are looked at as well.
        except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, ValueError) as error:
            yield f"run {bytes(run).hex()} cannot be read: {error!r}"


def _scan_journal(connection: apsw.Connection, run: Any, stored: Workflow) -> Iterator[str]:
    name = bytes(run).hex()
    entries: list[Any] = [
        (version, at_ms, _bytes(document))
        for version, at_ms, document in connection.execute(
            "SELECT version, at, CAST(changed AS BLOB) FROM journal WHERE workflow_id = ?"
            " ORDER BY version",
            (run,),
        )
    ]
    rows: Any = connection.execute(
        "SELECT seq, CAST(doc AS BLOB) FROM task WHERE workflow_id = ? AND NOT retired", (run,)
    )
    tasks = {seq: msgspec.json.decode(_bytes(document), type=Task) for seq, document in rows}
    header, folded = fold(entries)
    if header is None or _timeless(header) != _timeless(stored):
        yield f"the journal of {name} gives another header: {header} not {stored}"
    if _all_timeless(folded) != _all_timeless(tasks):
        yield f"the journal of {name} gives other tasks"
    for seq in _ended_twice(entries):
        yield f"task {seq} of {name} ended twice"


def _bytes(document: Any) -> bytes:
    return document.encode() if isinstance(document, str) else bytes(document)


def _timeless(record: Any) -> Any:
    return replace(record, updated_at_ms=0)


def _all_timeless(tasks: dict[int, Task]) -> dict[int, Task]:
    return {seq: _timeless(task) for seq, task in tasks.items()}


def _ended_twice(entries: Entries) -> list[int]:
    """Return the tasks whose end was followed by another one, without being revived between."""
    now: dict[int, TaskStatus] = {}
    found = []
    for _, _, document in entries:
        for seq, changed in json.loads(document).get("t", {}).items():
            before, after = now.get(int(seq)), changed.get("s")
            if after is None:
                continue
            now[int(seq)] = TaskStatus(after)
            # What settles an ended task (its successor is computed) may name its status again;
            # a second end has a time of its own.
            was_ended = before is not None and before.is_terminal
            if was_ended and now[int(seq)].is_terminal and "ea" in changed:
                found.append(int(seq))
    return found
