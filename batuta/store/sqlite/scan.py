# ruff: noqa: S608 - the statements are put together from constants of this file
"""Look for what must not be in a SQLite database: by SQL, by its files and by its journal.

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
from batuta.model.execution import Task, TaskStatus, Workflow
from batuta.model.payload import Payload
from batuta.store.blob.folder import Folder
from batuta.store.blob.reference import REFERENCE_BYTES, Place, decode
from batuta.store.sqlite.check.rules import RULES

FAULTS_MAX = 100  # that one scan gives; who has more has one cause, and needs no more to find it

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
            _scan_rows(connection),
            _scan_texts(connection),
            _scan_blobs(connection, folder),
            _scan_journals(connection),
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


# Texts that no rule reads and that no other scan decodes: what they belong to, and their bytes.
_TEXTS = {
    "lease": "SELECT hex(task_id), CAST(worker_id AS BLOB) FROM lease WHERE worker_id IS NOT NULL",
    "log": "SELECT hex(task_id), CAST(line AS BLOB) FROM log",
}


def _scan_texts(connection: apsw.Connection) -> Iterator[str]:
    """Find what is no UTF-8, which SQLite takes for a text and nobody can read."""
    for table, statement in _TEXTS.items():
        for key, text in connection.execute(statement):
            try:
                _bytes(text).decode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                yield f"a text is UTF-8: {table} of task {key}: {error}"


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
        if reference is None and not _is_json(_bytes(raw)):
            yield f"a payload is JSON: {part!r} of seq {seq} of {run}"
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


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


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
