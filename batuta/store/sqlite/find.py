"""Search: queries as SQL, each on the searching connection and with a limit to its time."""

# ruff: noqa: S608 - what is put into the SQL here are expressions of this package

import time
from collections.abc import Sequence
from typing import TypeVar

import apsw
import msgspec

from batuta.model.error import InvalidError
from batuta.model.execution import Lease, Task, Workflow
from batuta.model.payload import Payload
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
from batuta.store.sqlite.reading import lease_json, read_rows, with_columns
from batuta.store.sqlite.statements import uuid

T = TypeVar("T")

SEARCH_S_MAX = 5.0  # a search that reads everything would keep the next ones waiting
_STEPS = 100_000  # of SQLite's machine between two looks at the clock: some ms

_MARKS = {
    Kind.TEXT: "?{n}",
    Kind.WORD: "?{n}",
    Kind.NUMBER: "?{n}",
    Kind.INSTANT: "?{n}",
    Kind.ID: "unhex(?{n}, '-')",
}


def _id(column: str) -> Column:
    text = f"iif({column} IS NULL, '', {uuid(column)})"
    return Column(column, text=text)


def _text(column: str) -> Column:
    return Column(column, f"coalesce({column}, '')")


def _owner(column: str) -> Column:
    """Return the owner of a run; those that have one are in an index of their own."""
    return Column(column, equal=f"({column} <> '' AND {column} IN ({{marks}}))")


def _document(path: str, default: str) -> Column:
    """Return a field that is only in the task's document; reading it costs a parse."""
    return Column(f"coalesce(task.doc ->> '$.{path}', {default})")


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
        "parentWorkflowId": _id(f"{table}.parent_id"),
        "reasonForIncompletion": Column(f"coalesce({table}.doc ->> '$.r', '')"),
        "priority": Column(f"{table}.priority"),
        "dialect": _owner(f"{table}.dialect"),
        "owner": _owner(f"{table}.owner"),
    }


def _leased(held: str, own: str) -> Column:
    return Column(f"iif(lease.task_id IS NULL, {own}, {held})")


_TASK_COLUMNS = {
    "taskId": _id("task.task_id"),
    "taskType": Column("task.type"),
    "taskDefName": Column(
        "coalesce(task.own_name, task.type)",
        equal="(task.own_name IN ({marks}) OR (task.type IN ({marks}) AND task.own_name IS NULL))",
    ),
    "referenceTaskName": _document("ref", "''"),
    "workflowId": _id("task.workflow_id"),
    "workflowType": Column("run.name"),
    "correlationId": _text("run.correlation_id"),
    "status": _leased("'IN_PROGRESS'", "task.status"),
    "scheduledTime": _document("sa", "0"),
    "startTime": _leased("lease.started_at", "coalesce(task.doc ->> '$.st', 0)"),
    "updateTime": _leased("lease.polled_at", "coalesce(task.doc ->> '$.ua', 0)"),
    "endTime": _document("ea", "0"),
    "reasonForIncompletion": _document("r", "''"),
}


def _glob(pattern: str) -> str:
    return "".join(f"[{sign}]" if sign in "?[" else sign for sign in pattern)


_DIALECT = Dialect(
    marks=_MARKS,
    like="{value} GLOB {mark}",
    pattern=_glob,
    contains="instr(lower({value}), lower({mark})) > 0",
    columns={Subject.WORKFLOW: _workflow_columns("workflow"), Subject.TASK: _TASK_COLUMNS},
    trouble="task.status IN ({})".format(", ".join(f"'{word}'" for word in TROUBLE)),
)

_TASKS = """
task JOIN workflow run ON run.id = task.workflow_id
LEFT JOIN lease ON lease.workflow_id = task.workflow_id AND lease.task_id = task.task_id
"""
_HEADER = "'[' || {0}.version || ',' || {0}.updated_at || ',' || {0}.doc || ']'"

_Header = tuple[int, int, Workflow]
_HEADERS = msgspec.json.Decoder(list[_Header])
_FOUND_TASKS = msgspec.json.Decoder(
    list[tuple[_Header, Task, Lease | None, int | None, int | None]]
)


def find_workflows(
    connection: apsw.Connection, query: Query, *, sort: Sequence[Sort], start: int, size: int
) -> Page[Workflow]:
    """Return a page of runs; see ``Search.search``."""
    statement = Statement(_DIALECT)
    source, where = _workflow_source(statement, query)
    order = statement.order(Subject.WORKFLOW, sort)
    page = (
        f"SELECT {_HEADER.format('workflow')} AS found FROM {source} WHERE {where}"
        f" ORDER BY {order} LIMIT {size} OFFSET {start}"
    )
    matching = f"{source} WHERE {where}"
    rows, count = _run(connection, page, _HEADERS, matching, statement, count_limit(start, size))
    found = [with_columns(run, version, at_ms) for version, at_ms, run in rows]
    return page_of(found, count, count_limit(start, size))


def find_tasks(
    connection: apsw.Connection, query: Query, *, sort: Sequence[Sort], start: int, size: int
) -> Page[FoundTask]:
    """Return a page of tasks; see ``Search.search_tasks``."""
    statement = Statement(_DIALECT)
    source = f"{_TASKS} WHERE NOT task.retired AND {statement.condition(query)}"
    order = statement.order(Subject.TASK, sort)
    parts = (
        _HEADER.format("run"),
        "task.doc",
        f"iif(lease.task_id IS NULL, 'null', {lease_json('lease')})",
        "coalesce(task.input_size, 'null')",
        "coalesce(task.output_size, 'null')",
    )
    element = "'[' || " + " || ',' || ".join(parts) + " || ']'"
    page = f"SELECT {element} AS found FROM {source} ORDER BY {order} LIMIT {size} OFFSET {start}"
    limit = count_limit(start, size)
    rows, count = _run(connection, page, _FOUND_TASKS, source, statement, limit)
    found = [
        FoundTask(
            workflow=with_columns(run, version, at_ms),
            task=task,
            lease=lease,
            input=None if given is None else Payload(None, given),
            output=None if result is None else Payload(None, result),
        )
        for (version, at_ms, run), task, lease, given, result in rows
    ]
    return page_of(found, count, limit)


def _workflow_source(statement: Statement, query: Query) -> tuple[str, str]:
    """Return the table and the condition of runs, or of the runs of tasks."""
    where = statement.condition(query)
    if query.subject is Subject.WORKFLOW:
        return "workflow", where
    tasks = f"SELECT task.workflow_id FROM {_TASKS} WHERE NOT task.retired AND {where}"
    return "workflow", f"workflow.id IN ({tasks})"


def _run(
    connection: apsw.Connection,
    page: str,
    decoder: "msgspec.json.Decoder[list[T]]",
    source: str,
    statement: Statement,
    limit: int,
) -> tuple[list[T], int]:
    """Return the page and the number of hits, at most one more than ``limit``."""
    count = f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {limit + 1})"
    parameters = tuple(statement.parameters)
    until = time.monotonic() + SEARCH_S_MAX
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        with connection:  # one state of the database for both
            rows = read_rows(connection, page, parameters, decoder)
            hits = connection.execute(count, parameters).get
    except apsw.InterruptError as error:
        raise InvalidError(
            f"query: the search took longer than {SEARCH_S_MAX:.0f} s; narrow it by a type, a"
            " status, a correlation id or a time"
        ) from error
    finally:
        connection.set_progress_handler(None)
    return rows, int(hits)
