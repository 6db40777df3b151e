"""How the databases search: by indexes, within a time, and also what older versions wrote."""

from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest

from batuta.model.error import InvalidError
from batuta.model.execution import TaskStatus
from batuta.store.postgres import PostgresStore, migrate
from batuta.store.query.parse import parse_query, parse_sort
from batuta.store.query.sql import Statement
from batuta.store.query.tree import Subject
from batuta.store.sqlite import SqliteStore, find
from batuta.testing.builders import NOW_MS, put_task, task
from batuta.testing.cases.subject import a_run
from batuta.testing.query import runs, tasks
from batuta.testing.store import Subject as Store

ID = "01990000-0000-7000-8000-000000000000"
SEARCH_COLUMNS = ("type", "own_name", "status")


def sqlite_plan(path: Path, query: str, subject: Subject) -> str:
    """Return how SQLite would find the first page of what a query says of ``subject``."""
    statement = Statement(find._DIALECT)
    where = statement.condition(parse_query(query, subject))
    order = statement.order(subject, parse_sort("", subject))
    source = "workflow" if subject is Subject.WORKFLOW else find._TASKS
    sql = f"EXPLAIN QUERY PLAN SELECT 1 FROM {source} WHERE {where} ORDER BY {order} LIMIT 9"
    rows = apsw.Connection(str(path)).execute(sql, tuple(statement.parameters)).fetchall()
    return "\n".join(str(row[3]) for row in rows)


@pytest.fixture
async def empty(tmp_path: Path) -> Path:
    """Give an empty database."""
    store = await SqliteStore.open(str(tmp_path / "b.db"))
    await store.close()
    return tmp_path / "b.db"


@pytest.mark.parametrize(
    ("subject", "query", "index", "is_sorted"),
    [
        (Subject.WORKFLOW, "", "workflow_created", False),
        (Subject.WORKFLOW, "startTime>5 AND startTime<9", "workflow_created", False),
        (Subject.WORKFLOW, "status=FAILED AND startTime>5", "workflow_status (status=?", False),
        (Subject.WORKFLOW, "status IN (FAILED, PAUSED)", "workflow_status (status=?", True),
        (Subject.WORKFLOW, "workflowType=x", "workflow_name (name=?", False),
        (Subject.WORKFLOW, "workflowType=x AND status=FAILED", "workflow_name (name=?", False),
        (Subject.WORKFLOW, "correlationId=x", "workflow_correlation (", True),
        (Subject.WORKFLOW, f"parentWorkflowId={ID}", "workflow_parent (", True),
        (Subject.WORKFLOW, f"workflowId={ID}", "(id=?)", False),
        (Subject.TASK, "", "task_1", False),
        (Subject.TASK, "taskType=x", "task_type (type=?", False),
        (Subject.TASK, "taskDefName=x", "task_own_name (own_name=?", True),
        (Subject.TASK, "status IN (FAILED, TIMED_OUT)", "task_trouble", False),
        (Subject.TASK, f"workflowId={ID}", "(workflow_id=?", True),
        (Subject.TASK, "workflowType=x", "workflow_name (name=?", True),
    ],
)
async def test_a_common_search_on_sqlite_uses_an_index(
    empty: Path, subject: Subject, query: str, index: str, is_sorted: Any
) -> None:
    plan = sqlite_plan(empty, query, subject)

    assert index in plan, plan
    assert ("TEMP B-TREE" in plan) is is_sorted, plan


async def test_a_search_on_sqlite_that_takes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(str(tmp_path / "b.db"), now_wall_ms=lambda: NOW_MS)
    await a_run(store, put_task(task(1)))
    monkeypatch.setattr(find, "SEARCH_S_MAX", -1.0)
    monkeypatch.setattr(find, "_STEPS", 1)

    with pytest.raises(InvalidError, match="narrow it"):
        await tasks(store, "referenceTaskName=*")

    monkeypatch.undo()
    assert (await tasks(store, "")).total == 1
    await store.close()


@pytest.mark.postgres
async def test_a_search_on_postgresql_that_takes_too_long_is_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await PostgresStore.open(postgres_url)
    operator = await asyncpg.connect(postgres_url)
    monkeypatch.setattr("batuta.store.postgres.find.SEARCH_MS_MAX", 50)
    async with operator.transaction():
        await operator.execute("LOCK TABLE workflow")  # the search waits for it

        with pytest.raises(InvalidError, match="narrow it"):
            await runs(store, "")

    assert (await runs(store, "")).total == 0
    await operator.close()
    await store.close()


async def an_old_run(store: Store) -> None:
    """Write a run whose tasks have a name, a status and a NUL in their documents."""
    asked = task(1, task_type="HTTP", own_name="ask", status=TaskStatus.FAILED, reason="a\0b")
    await a_run(store, put_task(asked), put_task(task(2)))


async def assert_found(store: Store) -> None:
    """Search by all that the first schema had no columns for."""
    for query, total in {
        "taskDefName=ask AND status=FAILED": 1,
        "taskType=HTTP": 1,
        "taskDefName=build AND status=SCHEDULED": 1,
        "reasonForIncompletion=a*": 1,
    }.items():
        assert (await tasks(store, query)).total == total, query


async def test_what_sqlite_held_before_there_was_search_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "b.db")
    store = await SqliteStore.open(path, now_wall_ms=lambda: NOW_MS)
    await an_old_run(store)
    await store.close()
    before = apsw.Connection(path)
    for index in ("workflow_name", "task_type", "task_own_name", "task_trouble"):
        before.execute(f"DROP INDEX {index}")
    for column in SEARCH_COLUMNS:
        before.execute(f"ALTER TABLE task DROP COLUMN {column}")
    before.execute("DELETE FROM schema_migration WHERE number = 2")
    before.close()

    store = await SqliteStore.open(path, now_wall_ms=lambda: NOW_MS)

    await assert_found(store)
    await store.close()


@pytest.mark.postgres
async def test_what_postgresql_held_before_there_was_search_is_found(postgres_url: str) -> None:
    store: Any = await PostgresStore.open(postgres_url)
    await an_old_run(store)
    await store.close()
    before = await asyncpg.connect(postgres_url)
    for column in SEARCH_COLUMNS:
        await before.execute(f"ALTER TABLE task DROP COLUMN {column}")
    await before.execute("DROP INDEX workflow_name, workflow_correlation, workflow_parent")
    await before.execute("DELETE FROM migration WHERE number = 2")
    await before.close()

    assert await migrate(postgres_url) == ["0002_search"]

    store = await PostgresStore.open(postgres_url)
    await assert_found(store)
    await store.close()
