"""The PostgreSQL store keeps the contract, and says what it needs."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest

from batuta.model.change import Release, Reserve
from batuta.model.error import StoreError
from batuta.model.payload import Payload
from batuta.store.base import Accepted, Batch, RunChanges
from batuta.store.migrate import migrations
from batuta.store.postgres import HINT_CHANNEL, PostgresStore, migrate
from batuta.testing import builders
from batuta.testing.cases.subject import a_run, accept, loaded, poll, queued
from batuta.testing.store import StoreSuite, Subject

pytestmark = pytest.mark.postgres


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(postgres_url)
    yield store
    await store.close()


@pytest.fixture
async def operator(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection of somebody else to the same tables."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    async def store(self, postgres_url: str) -> AsyncIterator[Subject]:
        store = await PostgresStore.open(postgres_url)
        yield store
        await store.close()


async def test_a_database_without_tables_is_refused_and_told_how(postgres_empty: str) -> None:
    with pytest.raises(StoreError, match="run `batuta migrate`"):
        await PostgresStore.open(postgres_empty)


async def test_nodes_that_migrate_at_once_run_each_migration_once(postgres_empty: str) -> None:
    run = await asyncio.gather(*(migrate(postgres_empty) for _ in range(3)))

    known = [f"{one.number:04}_{one.name}" for one in migrations("postgres")]
    assert sorted(run) == [[], [], known]


async def test_a_database_migrated_by_other_files_is_refused(
    postgres_url: str, operator: asyncpg.Connection
) -> None:
    await operator.execute("UPDATE migration SET checksum = 'other' WHERE number = 1")

    with pytest.raises(StoreError, match="not the one of this version"):
        await PostgresStore.open(postgres_url)


async def test_without_the_driver_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(StoreError, match=r"pip install batuta\[postgres\]"):
        await PostgresStore.open("postgresql://nobody@127.0.0.1/nothing")


async def test_a_database_that_does_not_answer_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open the postgresql database"):
        await PostgresStore.open(f"postgresql://nobody@/nothing?host={tmp_path}")


async def test_statistics_say_how_durable_a_commit_is(
    store: PostgresStore, operator: asyncpg.Connection
) -> None:
    statistics = await store.statistics()

    for name in ("synchronous_commit", "fsync", "full_page_writes"):
        assert statistics[name] == await operator.fetchval(f"SHOW {name}")


async def test_a_step_takes_at_most_twelve_statements_and_nine_rows(store: PostgresStore) -> None:
    header, [task] = await queued(store)
    [lease] = await poll(store)
    after = builders.task(2)
    before = await store.statistics()

    await accept(
        store,
        builders.step(
            header.workflow_id,
            1,
            Release(task_id=task.task_id, poll_count=lease.poll_count),
            builders.put_task(task),
            builders.put_task(after),
            builders.enqueue(after),
        ),
        claims=[builders.claim()],
    )

    statistics = await store.statistics()
    assert statistics["statements"] - before["statements"] <= 12
    assert statistics["rows_written"] - before["rows_written"] <= 9


async def test_what_text_columns_cannot_hold_comes_back_whole(store: PostgresStore) -> None:
    strange = 'a\0b \x01 "\\ \u2028 \U0001f600'
    task = builders.task(1, reference_name=strange)
    payload = Payload.of({strange: [strange]})

    header = await a_run(
        store,
        builders.put_task(task, input=payload),
        builders.log(task, strange),
        name=strange,
        correlation_id=strange,
    )

    run = await loaded(store, header.workflow_id)
    assert (run.workflow.name, run.workflow.correlation_id) == (strange, strange)
    assert run.tasks == [(task, payload, None)]
    assert [line.line for line in await store.logs(task.task_id)] == [strange]


async def test_reservation_keys_that_differ_only_by_nul_are_two_keys(store: PostgresStore) -> None:
    for key in ("a", "a\0", "a\ufffd"):
        header = builders.workflow()
        reserve = Reserve(
            scope="start", key=key, workflow_id=header.workflow_id, until_ms=builders.NOW_MS + 1
        )

        await accept(store, builders.start(header, reserve))


async def test_a_batch_that_offers_work_notifies_once_and_names_the_queues(
    store: PostgresStore, operator: asyncpg.Connection
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await operator.add_listener(HINT_CHANNEL, lambda *message: heard.put_nowait(message[-1]))
    runs = [_offering(queue) for queue in ("b", "a", "b")]

    await store.commit(builders.batch(*runs))
    await poll(store, "a")
    await store.commit(builders.batch(_offering("last")))

    assert msgspec.json.decode(await heard.get()) == {"queues": ["a", "b"], "sends": False}
    # A claim offers nothing, so the next to be heard is the last batch's.
    assert msgspec.json.decode(await heard.get()) == {"queues": ["last"], "sends": False}


async def test_connections_lost_between_two_batches_are_nobodys_trouble(
    store: PostgresStore, operator: asyncpg.Connection
) -> None:
    header = await a_run(store)
    await operator.execute(_END_SESSIONS)

    committed = await store.commit(builders.batch(builders.step(header.workflow_id, 1)))

    assert committed.verdicts == [Accepted()]


async def test_a_connection_lost_before_commit_is_replaced_and_the_batch_written_once(
    store: PostgresStore, operator: asyncpg.Connection
) -> None:
    header = await a_run(store)
    async with operator.transaction():
        await operator.execute("SELECT FROM workflow FOR UPDATE")
        commit = asyncio.ensure_future(
            store.commit(builders.batch(builders.step(header.workflow_id, 1)))
        )
        await _until(operator, "wait_event_type = 'Lock'")
        await operator.execute(_END_SESSIONS)

    assert (await commit).verdicts == [Accepted()]
    assert (await loaded(store, header.workflow_id)).workflow.version == 2
    assert (await store.statistics())["transactions_retried"] == 1


async def test_a_poll_passes_over_a_task_that_another_node_is_taking(
    store: PostgresStore, operator: asyncpg.Connection
) -> None:
    _, [first, second] = await queued(store, 2)
    async with operator.transaction():
        await operator.execute("SELECT FROM queue WHERE task_id = $1 FOR UPDATE", first.task_id)

        assert [lease.task_id for lease in await poll(store, count=2)] == [second.task_id]

    assert [lease.task_id for lease in await poll(store, count=2)] == [first.task_id]


async def test_a_commit_cut_off_midway_is_unknown_until_the_journal_is_asked(
    store: PostgresStore, operator: asyncpg.Connection
) -> None:
    header = await a_run(store)
    await operator.execute(_COMMIT_WAITS_FOR_A_LOCK)
    await operator.execute("SELECT pg_advisory_lock(7)")
    decided = builders.step(header.workflow_id, 1, request_id="r1")
    commit = asyncio.ensure_future(store.commit(builders.batch(decided)))
    await _until(operator, "wait_event = 'advisory' AND query ILIKE 'COMMIT%'")

    await operator.execute(_END_SESSIONS)

    with pytest.raises(StoreError, match="may be committed"):
        await commit
    await operator.execute("SELECT pg_advisory_unlock(7)")
    assert await store.settled([(header.workflow_id, 2, "r1")]) == [False]
    committed = await store.commit(builders.batch(decided))
    assert committed.verdicts == [Accepted()]
    assert await store.settled([(header.workflow_id, 2, "r1")]) == [True]


async def test_a_row_that_the_database_refuses_fails_its_batch_and_nothing_more(
    store: PostgresStore,
) -> None:
    header, [task] = await queued(store)
    twice = builders.task(2, task_id=task.task_id)

    with pytest.raises(StoreError, match="task_task_id_key"):
        await store.commit(
            builders.batch(builders.step(header.workflow_id, 1, builders.put_task(twice)))
        )

    assert (await loaded(store, header.workflow_id)).workflow.version == 1
    await accept(store, builders.step(header.workflow_id, 1))


async def test_a_closed_store_refuses_and_closes_again(store: PostgresStore) -> None:
    await store.close()
    await store.close()

    with pytest.raises(StoreError, match="closed"):
        await store.commit(Batch(now_ms=builders.NOW_MS))


_END_SESSIONS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'batuta'
"""

_COMMIT_WAITS_FOR_A_LOCK = """
CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON journal DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION wait_for_lock()
"""


def _offering(queue: str) -> RunChanges:
    task = builders.task(1)
    return builders.start(
        builders.workflow(), builders.put_task(task), builders.enqueue(task, queue)
    )


async def _until(operator: asyncpg.Connection, condition: str) -> None:
    """Wait until a session of the store meets the condition."""
    sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'batuta' AND "
    while not await operator.fetchval(sessions + condition):
        await operator.fetchval("SELECT pg_stat_clear_snapshot()")
