"""Search: queries as SQL, each in one snapshot and with a limit to its time."""

# ruff: noqa: S608 - what is put into the SQL here are expressions of this package

from collections.abc import Sequence

import msgspec

from batuta.model.error import InvalidError, StoreError
from batuta.model.execution import Task, Workflow
from batuta.model.payload import Payload
from batuta.store.postgres.link import Link, Record, Session
from batuta.store.postgres.read import lease, readable, workflow
from batuta.store.postgres.rows import WHOLE_RUN
from batuta.store.query.sql import TROUBLE, Column, Dialect, Statement
from batuta.store.query.tree import (
    FoundTask,
    Kind,
    Page,
    Query,
    Sort,
    Subject,
    count_limit,
    page_of,
)

SEARCH_MS_MAX = 5_000  # a search that reads everything would cost the other nodes their share
_CANCELED = "57014"  # the server's word for a statement that took longer

_MARKS = {
    Kind.TEXT: "${n}::text",
    Kind.WORD: "${n}::text",
    Kind.NUMBER: "${n}::bigint",
    Kind.INSTANT: "${n}::bigint",
    Kind.ID: "${n}::uuid",
}


def _id(column: str) -> Column:
    return Column(column, text=f"coalesce({column}::text, '')")


def _text(column: str) -> Column:
    return Column(column, f"coalesce({column}, '')")


def _owner(column: str) -> Column:
    """Return the owner of a run; those that have one are in an index of their own."""
    return Column(column, equal=f"({column} <> '' AND {column} IN ({{marks}}))")


def _document(table: str, name: str, default: str) -> Column:
    """Return a field that is only in the document; reading it costs a parse.

    A document may hold the escape of NUL, which is refused even where it is not asked for.
    """
    doc = rf"replace(convert_from({table}.doc, 'UTF8'), '\u0000', '\ufffd')::json"
    found = f"coalesce({doc} ->> '{name}', '{default}')"
    return Column(f"{found}::bigint" if default == "0" else f'({found} COLLATE "C")')


def _workflow_columns(table: str) -> dict[str, Column]:
    return {
        "workflowId": _id(f"{table}.id"),
        "correlationId": _text(f"{table}.correlation_id"),
        "workflowType": Column(f"{table}.name"),
        "version": Column(f"{table}.definition_version"),
        "status": Column(f"{table}.status"),
        "startTime": Column(f"{table}.created_at"),
        "updateTime": Column(f"{table}.updated_at"),
        "endTime": Column(f"{table}.ended_at"),
        "parentWorkflowId": Column(
            f"{table}.parent_id",
            # Where there is none stands before the others, as in every store.
            f"coalesce({table}.parent_id, '{WHOLE_RUN}')",
            f"coalesce({table}.parent_id::text, '')",
        ),
        "reasonForIncompletion": _document(table, "r", ""),
        "priority": Column(f"{table}.priority"),
        "dialect": _owner(f"{table}.dialect"),
        "owner": _owner(f"{table}.owner"),
    }


def _leased(held: str, own: str) -> Column:
    return Column(f"CASE WHEN lease.task_id IS NULL THEN {own} ELSE {held} END")


_TASK_COLUMNS = {
    "taskId": _id("task.task_id"),
    "taskType": Column("task.type"),
    "taskDefName": Column(
        "coalesce(task.own_name, task.type)",
        equal="(task.own_name IN ({marks}) OR (task.type IN ({marks}) AND task.own_name IS NULL))",
    ),
    "referenceTaskName": _document("task", "ref", ""),
    "workflowId": _id("task.workflow_id"),
    "workflowType": Column("run.name"),
    "correlationId": _text("run.correlation_id"),
    "status": _leased("'IN_PROGRESS' COLLATE \"C\"", "task.status"),
    "scheduledTime": _document("task", "sa", "0"),
    "startTime": _leased("lease.started_at", _document("task", "st", "0").bare),
    "updateTime": _leased("lease.polled_at", _document("task", "ua", "0").bare),
    "endTime": _document("task", "ea", "0"),
    "reasonForIncompletion": _document("task", "r", ""),
}


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


_DIALECT = Dialect(
    marks=_MARKS,
    like="{value} LIKE {mark}",
    pattern=_like,
    contains='position(lower({mark} COLLATE "C") in lower({value} COLLATE "C")) > 0',
    columns={Subject.WORKFLOW: _workflow_columns("workflow"), Subject.TASK: _TASK_COLUMNS},
    trouble="task.status IN ({})".format(", ".join(f"'{word}'" for word in TROUBLE)),
)

_TASKS = """
task JOIN workflow AS run ON run.id = task.workflow_id
LEFT JOIN lease ON lease.task_id = task.task_id
"""
_TASK = msgspec.json.Decoder(Task)


async def find_workflows(
    link: Link, query: Query, *, sort: Sequence[Sort], start: int, size: int
) -> Page[Workflow]:
    """Return a page of runs; see ``Search.search``."""
    statement = Statement(_DIALECT)
    where = statement.condition(query)
    if query.subject is Subject.TASK:
        tasks = f"SELECT task.workflow_id FROM {_TASKS} WHERE NOT task.retired AND {where}"
        where = f"workflow.id IN ({tasks})"
    order = statement.order(Subject.WORKFLOW, sort)
    source = f"workflow WHERE {where}"
    page = f"SELECT doc, version, updated_at FROM {source} ORDER BY {order}"
    rows, count = await _run(link, page, source, statement, start, size)
    return page_of(readable(rows, workflow), count, count_limit(start, size))


async def find_tasks(
    link: Link, query: Query, *, sort: Sequence[Sort], start: int, size: int
) -> Page[FoundTask]:
    """Return a page of tasks; see ``Search.search_tasks``."""
    statement = Statement(_DIALECT)
    source = f"{_TASKS} WHERE NOT task.retired AND {statement.condition(query)}"
    page = f"""
        SELECT run.doc, run.version, run.updated_at, task.doc AS task_doc,
            octet_length(task.input) AS input_bytes, octet_length(task.output) AS output_bytes,
            task.task_id::text, task.workflow_id::text, lease.queue, lease.worker_id,
            lease.poll_count, lease.started_at, lease.polled_at, lease.expires_at,
            lease.lease_ms, lease.timeout_ms
        FROM {source} ORDER BY {statement.order(Subject.TASK, sort)}
    """
    rows, count = await _run(link, page, source, statement, start, size)
    return page_of(readable(rows, _found_task), count, count_limit(start, size))


def _found_task(row: Record) -> FoundTask:
    sizes = (row["input_bytes"], row["output_bytes"])
    given, result = (None if size is None else Payload(None, size) for size in sizes)
    return FoundTask(
        workflow=workflow(row),
        task=_TASK.decode(row["task_doc"]),
        lease=None if row["queue"] is None else lease(row),
        input=given,
        output=result,
    )


async def _run(
    link: Link, page: str, source: str, statement: Statement, start: int, size: int
) -> tuple[Sequence[Record], int]:
    """Return the page's rows and the number of hits, at most one more than is counted."""
    count = f"SELECT count(*) FROM (SELECT FROM {source} LIMIT {count_limit(start, size) + 1}) AS s"

    async def work(session: Session) -> tuple[Sequence[Record], int]:
        await session.run(f"SET LOCAL statement_timeout = {SEARCH_MS_MAX}")
        rows = await session.rows(f"{page} LIMIT {size} OFFSET {start}", *statement.parameters)
        return rows, await session.value(count, *statement.parameters)

    try:
        return await link.read(work)
    except StoreError as error:
        if getattr(error.__cause__, "sqlstate", None) != _CANCELED:
            raise
        raise InvalidError(
            f"query: the search took longer than {SEARCH_MS_MAX} ms; narrow it by a type, a"
            " status, a correlation id or a time"
        ) from error
