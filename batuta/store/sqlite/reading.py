"""Read runs, due work and the journal, on a thread that owns a reading connection.

A step of a statement hands the interpreter's lock over, so an answer is one row: headers
joined to one JSON array, payload bytes to one blob that is cut by their sizes.
"""

# ruff: noqa: S608 - what is put into the SQL here are expressions of this package

import contextlib
from collections.abc import Sequence
from typing import TypeVar

import apsw
import msgspec
from msgspec.structs import replace

from batuta.model.error import StoreError
from batuta.model.execution import Lease, Task, Workflow
from batuta.model.payload import Payload
from batuta.store.base import Entry, JournalRow, Loaded
from batuta.store.sqlite.statements import uuid

T = TypeVar("T")

_Part = tuple[int | None, int | None]  # the size of a payload, and of what is inline of it


class _WorkflowRow(msgspec.Struct, array_like=True):
    version: int
    updated_at_ms: int
    workflow: Workflow
    parts: tuple[_Part, _Part, _Part]


class _TaskRow(msgspec.Struct, array_like=True):
    key: int
    seq: int
    task: Task | None  # None: retired
    parts: tuple[_Part, _Part]


_JournalRow = tuple[int, str, int, int, str, str, str, int]


def lease_json(table: str) -> str:
    """Return the SQL of a lease as a JSON object."""
    return (
        f"json_object('task_id', {uuid(f'{table}.task_id')},"
        f" 'workflow_id', {uuid(f'{table}.workflow_id')}, 'queue', {table}.queue,"
        f" 'worker_id', {table}.worker_id, 'poll_count', {table}.poll_count,"
        f" 'started_at_ms', {table}.started_at, 'polled_at_ms', {table}.polled_at,"
        f" 'expires_at_ms', {table}.expires_at, 'lease_ms', {table}.lease_ms,"
        f" 'timeout_ms', {table}.timeout_ms)"
    )


def _sizes(*parts: str) -> str:
    """Return the SQL text of ``[[size, inline size], ...]``."""
    pairs = (
        f"'[' || coalesce({part}_size, 'null') || ',' || coalesce(length({part}), 'null') || ']'"
        for part in parts
    )
    return "'[' || " + " || ',' || ".join(pairs) + " || ']'"


def _array(element: str) -> str:
    return f"'[' || coalesce(group_concat({element}), '') || ']'"


_WANTED = "jsonb_each(CAST(:wanted AS TEXT))"  # (workflow_id, version_known)

_LOAD = f"""
SELECT {
    _array(
        f"'[' || version || ',' || updated_at || ',' || doc || ',' || "
        f"{_sizes('input', 'output', 'variables')} || ']'"
    )
},
    CAST(group_concat(
        coalesce(input, '') || coalesce(output, '') || coalesce(variables, ''), ''
    ) AS BLOB)
FROM {_WANTED} wanted CROSS JOIN workflow ON workflow.id = unhex(wanted.value ->> 0, '-')
UNION ALL
SELECT {
    _array(
        f"'[' || key || ',' || seq || ',' || iif(retired, 'null', doc) || ',' || "
        f"{_sizes('input', 'output')} || ']'"
    )
},
    CAST(group_concat(coalesce(input, '') || coalesce(output, ''), '') AS BLOB)
FROM {_WANTED} wanted CROSS JOIN task
    ON task.workflow_id = unhex(wanted.value ->> 0, '-') AND task.version > wanted.value ->> 1
UNION ALL
SELECT {_array(lease_json("lease"))}, NULL
FROM {_WANTED} wanted CROSS JOIN lease
    ON lease.workflow_id = unhex(wanted.value ->> 0, '-')
"""

_WORKFLOWS = msgspec.json.Decoder(list[_WorkflowRow])
_TASKS = msgspec.json.Decoder(list[_TaskRow])
_LEASES = msgspec.json.Decoder(list[Lease])
_encode = msgspec.json.Encoder().encode


def load(connection: apsw.Connection, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
    """Return the runs that exist; see ``Store.load``."""
    rows = connection.execute(_LOAD, {"wanted": _encode(known)}).fetchall()
    (workflow_text, workflow_blob), (task_text, task_blob), (lease_text, _) = rows
    tasks: dict[str, list[tuple[Task, Payload | None, Payload | None]]] = {}
    retired: dict[str, list[int]] = {}
    cut = Cut(task_blob)
    for row in _TASKS.decode(str(task_text)):
        given, result = (cut.payload(part) for part in row.parts)
        workflow_id = known[row.key][0]
        if row.task is None:
            retired.setdefault(workflow_id, []).append(row.seq)
        else:
            tasks.setdefault(workflow_id, []).append((row.task, given, result))
    leases: dict[str, list[Lease]] = {}
    for lease in _LEASES.decode(str(lease_text)):
        leases.setdefault(lease.workflow_id, []).append(lease)
    found = {}
    asked = {workflow_id for workflow_id, _ in known}
    cut = Cut(workflow_blob)
    for head in _WORKFLOWS.decode(str(workflow_text)):
        workflow_id = head.workflow.workflow_id
        given, result, variables = (cut.payload(part) for part in head.parts)
        if workflow_id not in asked:
            continue  # it was asked for in another spelling, which is not its id
        found[workflow_id] = Loaded(
            workflow=with_columns(head.workflow, head.version, head.updated_at_ms),
            input=given,
            output=result,
            variables=variables,
            tasks=sorted(tasks.get(workflow_id, ()), key=lambda row: row[0].seq),
            retired=sorted(retired.get(workflow_id, ())),
            leases=leases.get(workflow_id, []),
        )
    return found


def with_columns(workflow: Workflow, version: int, updated_at_ms: int) -> Workflow:
    """Return the header with what a commit changes without writing the document."""
    return replace(workflow, version=version, updated_at_ms=updated_at_ms)


def read_rows(
    connection: apsw.Connection,
    source: str,
    parameters: "apsw.Bindings",
    decoder: "msgspec.json.Decoder[list[T]]",
) -> list[T]:
    """Return the rows that ``source`` gives as JSON in a column ``found``.

    They come as one document, since a row of Python for each would cost more. Where one is
    damaged each is read alone and the damaged are left out: the others are shown, and `doctor`
    names what is missing.
    """
    whole = f"SELECT '[' || coalesce(group_concat(found), '') || ']' FROM ({source})"
    try:
        return decoder.decode(str(connection.execute(whole, parameters).get))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    rows: list[T] = []
    for [raw] in connection.execute(f"SELECT CAST(found AS BLOB) FROM ({source})", parameters):
        assert isinstance(raw, bytes)
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            rows += decoder.decode(b"[%b]" % (raw,))
    return rows


class Cut:
    """Cuts payloads off a blob, in the order in which they were joined."""

    def __init__(self, blob: object) -> None:
        self._blob = blob if isinstance(blob, bytes) else b""
        self._at = 0

    def payload(self, part: _Part) -> Payload | None:
        """Return the next payload, None when there is none."""
        size_bytes, inline_bytes = part
        if size_bytes is None:
            return None
        if inline_bytes is None:
            return Payload(None, size_bytes)
        return Payload(self.bytes(inline_bytes))

    def bytes(self, size: int) -> bytes:
        """Return the next bytes."""
        start = self._at
        self._at = start + size
        return self._blob[start : self._at]


_FETCH = f"""
SELECT wanted.key, CASE wanted.value ->> 2
    WHEN 'input' THEN coalesce(task.input, iif(task.input_size, payload.data, NULL))
    WHEN 'output' THEN coalesce(task.output, iif(task.output_size, payload.data, NULL)) END
FROM {_WANTED} wanted CROSS JOIN task
    ON task.workflow_id = unhex(wanted.value ->> 0, '-') AND task.seq = wanted.value ->> 1
LEFT JOIN payload ON payload.workflow_id = task.workflow_id
    AND payload.seq = task.seq AND payload.part = wanted.value ->> 2
UNION ALL
SELECT wanted.key, CASE wanted.value ->> 2
    WHEN 'input' THEN coalesce(workflow.input, iif(input_size, data, NULL))
    WHEN 'output' THEN coalesce(workflow.output, iif(output_size, data, NULL))
    WHEN 'variables' THEN coalesce(workflow.variables, iif(variables_size, data, NULL)) END
FROM {_WANTED} wanted CROSS JOIN workflow ON workflow.id = unhex(wanted.value ->> 0, '-')
LEFT JOIN payload ON payload.workflow_id = workflow.id
    AND payload.seq = 0 AND payload.part = wanted.value ->> 2
WHERE wanted.value ->> 1 = 0
"""


def fetch(connection: apsw.Connection, wanted: Sequence[tuple[str, int, str]]) -> list[Payload]:
    """Return payloads in the order asked; see ``Store.fetch``."""
    payloads = []
    for key, payload in zip(wanted, find_payloads(connection, wanted), strict=True):
        if payload is None:
            raise StoreError(f"run {key[0]!r} has no {key[2]!r} of seq {key[1]}")
        payloads.append(payload)
    return payloads


def find_payloads(
    connection: apsw.Connection, wanted: Sequence[tuple[str, int, str]]
) -> list[Payload | None]:
    """Return payloads in the order asked, None for each that does not exist."""
    rows = connection.execute(_FETCH, {"wanted": _encode(wanted)}).fetchall()
    found = {key: Payload(data) for key, data in rows if isinstance(data, bytes)}
    return [found.get(index) for index in range(len(wanted))]


_SETTLED = f"""
SELECT json_group_array(wanted.key) FROM {_WANTED} wanted CROSS JOIN journal
    ON journal.workflow_id = unhex(wanted.value ->> 0, '-')
    AND journal.version = wanted.value ->> 1 AND journal.request_id = wanted.value ->> 2
"""


def settled(connection: apsw.Connection, wanted: Sequence[tuple[str, int, str]]) -> list[bool]:
    """Say which requests the journal holds; see ``Store.settled``."""
    text = connection.execute(_SETTLED, {"wanted": _encode(wanted)}).get
    found = msgspec.json.decode(text, type=set[int])
    return [index in found for index in range(len(wanted))]


# A scan: the table has a row for each task in a worker's hands, and recovery asks once.
_HELD_BY = f"""
SELECT json_group_array(json({lease_json("held")})) FROM (
    SELECT * FROM lease WHERE worker_id = :worker_id ORDER BY task_id
) held
"""


def held_by(connection: apsw.Connection, worker_id: str) -> list[Lease]:
    """Return a worker's leases; see ``Store.held_by``."""
    return _LEASES.decode(connection.execute(_HELD_BY, {"worker_id": worker_id}).get)


_FIND_TASK = f"SELECT {uuid('workflow_id')} FROM task WHERE task_id = unhex(?, '-')"


def find_task(connection: apsw.Connection, task_id: str) -> str | None:
    """Return the id of the run that has this task, or None."""
    found = connection.execute(_FIND_TASK, (task_id,)).get
    return found if isinstance(found, str) else None


_JOURNAL = f"""
SELECT {
    _array(
        f"json_array(position, {uuid('workflow_id')}, version, at, kind, actor, "
        "request_id, length(changed))"
    )
},
    CAST(group_concat(changed, '') AS BLOB)
FROM (SELECT * FROM journal WHERE position > :position {{filter}} ORDER BY position LIMIT :limit)
"""
_READ_ALL = _JOURNAL.format(filter="")
# The unary plus keeps SQLite from walking the whole journal in order for one run's rows.
_READ_ONE = _JOURNAL.format(filter="AND workflow_id = unhex(:workflow_id, '-')").replace(
    "WHERE position >", "WHERE +position >"
)


def read_after(
    connection: apsw.Connection, position: int, limit: int, workflow_id: str | None
) -> list[JournalRow]:
    """Return entries after a position; see ``Journal.read_after``."""
    asked = {"position": position, "limit": limit, "workflow_id": workflow_id}
    statement = _READ_ALL if workflow_id is None else _READ_ONE
    row = connection.execute(statement, asked).fetchone()
    assert row is not None, "an aggregate without GROUP BY has one row"
    cut = Cut(row[1])
    return [
        JournalRow(
            position=place,
            workflow_id=run,
            entry=Entry(
                version=version,
                at_ms=at_ms,
                kind=kind,
                actor=actor,
                request_id=request_id,
                changed=cut.bytes(size),
            ),
        )
        for place, run, version, at_ms, kind, actor, request_id, size in msgspec.json.decode(
            str(row[0]), type=list[_JournalRow]
        )
    ]
