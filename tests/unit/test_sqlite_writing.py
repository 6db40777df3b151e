"""How the SQLite store writes: few statements, no scans, and what happens when it cannot."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from batuta.model.change import Change, Release
from batuta.model.error import StoreError, UnreadableError
from batuta.model.execution import Lease, TaskStatus, Workflow
from batuta.model.payload import Payload
from batuta.store.base import Accepted, RunChanges
from batuta.store.sqlite import SqliteStore, reading, statements, trigger
from batuta.store.sqlite import store as store_module
from batuta.store.sqlite.connection import open_connection
from batuta.store.sqlite.due import read as due_read
from batuta.store.sqlite.keep import purge as keep
from batuta.store.sqlite.opening import migrate
from batuta.testing import builders
from batuta.testing.builders import (
    NOW_MS,
    batch,
    claim,
    enqueue,
    put_task,
    put_workflow,
    start,
    step,
    task,
    workflow,
)
from batuta.testing.cases.subject import a_run, poll, queued

STATEMENTS_PER_BATCH_MAX = 12
ROWS_PER_STEP_MAX = 9


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(str(tmp_path / "batuta.db"), now_wall_ms=lambda: NOW_MS)
    yield store
    await store.close()


def completion(header: Workflow, lease: Lease, version: int) -> RunChanges:
    """End the task that is held and offer the next one."""
    ended = task(version, task_id=lease.task_id, status=TaskStatus.COMPLETED)
    following = task(version + 1)
    changes: list[Change] = [
        put_task(ended, output=Payload.of({"result": 1})),
        Release(task_id=lease.task_id, poll_count=lease.poll_count),
        put_task(following, input=Payload.of({"given": 1})),
        enqueue(following),
    ]
    return step(header.workflow_id, version, *changes)


async def test_a_batch_of_completions_is_a_few_statements(store: SqliteStore) -> None:
    headers = [(await queued(store))[0] for _ in range(20)]
    leases = {lease.workflow_id: lease for lease in await poll(store, count=20)}
    steps = [completion(header, leases[header.workflow_id], 1) for header in headers]
    before = await store.statistics()

    committed = await store.commit(batch(*steps, claims=[claim(count=20)]))

    after = await store.statistics()
    assert committed.verdicts == [Accepted()] * 20
    assert len(committed.claimed[0]) == 20
    assert after["batches"] - before["batches"] == 1
    assert after["statements"] - before["statements"] <= STATEMENTS_PER_BATCH_MAX
    # Of a step: run, two tasks, lease out, queue in, journal. Of its poll: lease in, queue out.
    assert (after["rows_written"] - before["rows_written"]) / 20 <= ROWS_PER_STEP_MAX


async def test_a_decision_that_cannot_be_written_fails_alone(store: SqliteStore) -> None:
    headers = [workflow() for _ in range(7)]
    runs = [start(header, put_task(task(1))) for header in headers]
    poison = workflow()
    runs.insert(3, start(poison, put_task(task(1, task_id="no uuid"))))

    with pytest.raises(StoreError) as caught:
        await store.commit(batch(*runs))

    assert poison.workflow_id in caught.value.message
    assert not any(header.workflow_id in caught.value.message for header in headers)
    asked = [(one.workflow_id, 1, "") for one in (*headers, poison)]
    assert await store.settled(asked) == [True] * 7 + [False]
    found = await store.load([(one.workflow_id, 0) for one in (*headers, poison)])
    assert set(found) == {header.workflow_id for header in headers}


async def test_a_batch_beside_a_refused_decision_can_still_fail_alone(store: SqliteStore) -> None:
    header = await a_run(store)
    stale = step(header.workflow_id, 9)
    poison = start(workflow(), put_task(task(1, task_id="no uuid")))
    healthy = workflow()

    with pytest.raises(StoreError):
        await store.commit(batch(stale, poison, start(healthy)))

    assert await store.settled([(healthy.workflow_id, 1, "")]) == [True]
    assert (await store.commit(batch(start(workflow())))).verdicts == [Accepted()]


async def test_a_full_disk_writes_nothing_and_heals(store: SqliteStore) -> None:
    header = await a_run(store)
    full = step(header.workflow_id, 1, put_task(task(1, reason="x" * 1_000_000)))
    pages = await store._writer.run(lambda connection: connection.pragma("page_count"))
    await store._writer.run(lambda connection: connection.pragma("max_page_count", pages + 20))

    with pytest.raises(StoreError, match="disk is full"):
        await store.commit(batch(full, start(workflow())))

    assert sum((await store.counts()).values()) == 1
    await store._writer.run(lambda connection: connection.pragma("max_page_count", 1_000_000))
    assert (await store.commit(batch(full))).verdicts == [Accepted()]


async def test_another_program_that_holds_the_file_is_named(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store._writer.run(lambda connection: connection.set_busy_timeout(1))
    shell = apsw.Connection(str(tmp_path / "batuta.db"))
    shell.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="another program holds the database"):
        await store.commit(batch(start(workflow())))

    shell.execute("ROLLBACK")
    shell.close()
    assert (await store.commit(batch(start(workflow())))).verdicts == [Accepted()]


async def test_a_caller_that_gave_up_does_not_disturb_the_commit(store: SqliteStore) -> None:
    header = workflow()
    caller = asyncio.create_task(store.commit(batch(start(header))))
    await asyncio.sleep(0)

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    assert await store.settled([(header.workflow_id, 1, "")]) == [True]


async def test_close_finishes_the_commits_in_flight(tmp_path: Path) -> None:
    path = str(tmp_path / "other.db")
    store = await SqliteStore.open(path, now_wall_ms=lambda: NOW_MS)
    headers = [workflow() for _ in range(20)]
    commits = [asyncio.ensure_future(store.commit(batch(start(one)))) for one in headers]
    await asyncio.sleep(0)

    await store.close()

    assert [answer.verdicts for answer in await asyncio.gather(*commits)] == [[Accepted()]] * 20


async def test_the_log_is_copied_into_the_database_as_it_grows(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(store_module, "CHECKPOINT_PAGES_MAX", 50)
    body = Payload.of("x" * 10_000)
    header = await a_run(store)

    for version in range(1, 101):
        put = put_workflow(header, header, variables=body)
        await store.commit(batch(step(header.workflow_id, version, put)))

    statistics = await store.statistics()
    assert statistics["checkpoints"] >= 2
    # A hundred commits of some five pages; without checkpoints the log would keep them all.
    assert (tmp_path / "batuta.db-wal").stat().st_size < 100 * 4_096


async def test_heads_change_without_writing_payloads_again(store: SqliteStore) -> None:
    first = task(1)
    body = Payload.of("x" * 10_000)
    header = await a_run(store, put_task(first, input=body))
    after = replace(first, status=TaskStatus.COMPLETED)

    await store.commit(batch(step(header.workflow_id, 1, put_task(after, first))))

    [(_, given, _)] = (await store.load([(header.workflow_id, 0)]))[header.workflow_id].tasks
    assert given == body


def test_no_statement_of_a_commit_or_a_load_reads_a_whole_table(tmp_path: Path) -> None:
    connection = open_connection(str(tmp_path / "plan.db"), is_writer=True)
    migrate(connection, "plan.db")
    connection.execute(trigger.PREPARE)
    named = {column: f":{column}" for column in trigger.COLUMNS}
    parts = ("CHECK", "RECORDS", "HANDS", "REST", "REMOVAL", "JOURNAL", "TOUCHES", "CLAIMS")
    texts = ";".join(getattr(statements, part).format_map(named) for part in parts).split(";")
    texts += [reading._LOAD, reading._FETCH, reading._SETTLED, due_read._TIMERS]
    texts += [due_read._EXPIRED, reading._READ_ALL, reading._READ_ONE]
    texts += [keep._CUT, keep._FOUND, keep._PURGED, keep._TASKS_OF, keep._RETIRED, keep._REMOVALS]
    texts += [keep._NAMES, keep._EARLIER_ENTRIES, keep._LAST_ENTRIES]
    texts += [*keep._PURGE.split(";"), *keep._DELETE_TASKS.split(";")]
    tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema")}

    scanned = []
    for text in filter(str.strip, texts):
        for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", _Nothing()):
            words = str(row[3]).split()
            # An index of retired tasks only holds those, however many others there are.
            if words[0] == "SCAN" and words[1] in tables and "task_retired" not in words:
                scanned.append((row[3], text))

    assert "task" in tables
    assert scanned == []
    connection.close()


class _Nothing(dict[str, None]):
    """Binds NULL to every parameter."""

    def __missing__(self, key: str) -> None:
        return None


def test_a_claim_walks_its_queue_by_the_whole_key(tmp_path: Path) -> None:
    connection = open_connection(str(tmp_path / "plan.db"), is_writer=True)
    migrate(connection, "plan.db")
    connection.execute(statements.TABLES)
    text = statements.CLAIMS.split(";")[1].format_map({"now": ":now", "claims": ":claims"})

    plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", _Nothing())]

    assert any("later" in line and "(rank,at,task_id)>(?,?,?)" in line for line in plan), plan
    connection.close()


async def test_ids_are_kept_as_sixteen_bytes(store: SqliteStore) -> None:
    header = await a_run(store)

    stored = await store._writer.run(
        lambda connection: connection.execute("SELECT id FROM workflow").get
    )

    assert stored == bytes.fromhex(header.workflow_id.replace("-", ""))
    assert builders.new_id() > header.workflow_id


async def test_a_run_is_found_by_the_spelling_of_its_id_alone(store: SqliteStore) -> None:
    header, _ = await queued(store)
    spellings = [header.workflow_id.upper(), header.workflow_id.replace("-", "")]

    assert await store.load([(one, 0) for one in spellings]) == {}
    found = await store.load([(one, 0) for one in (*spellings, header.workflow_id)])

    assert list(found) == [header.workflow_id]
    assert len(found[header.workflow_id].tasks) == 1


async def test_a_document_that_cannot_be_read_is_told_from_a_store_in_trouble(
    store: SqliteStore,
) -> None:
    header = await a_run(store)
    await store._writer.run(
        lambda connection: connection.execute("UPDATE workflow SET doc = '{}'").get
    )

    with pytest.raises(UnreadableError, match="cannot be read"):
        await store.load([(header.workflow_id, 0)])
