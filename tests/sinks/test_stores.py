"""The relay on each store, and two nodes of one PostgreSQL that share the work of a sink."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from batuta.model.command import DeleteWorkflow, RestartWorkflow
from batuta.sinks.relay import FREE_AGAIN_S, LEASE_MS
from batuta.store.postgres import PostgresStore, migrate
from tests.contract.postgres_server import fresh_schema, postgres
from tests.engine.node import Clock, Node, memory_opener, postgres_opener, running, sqlite_opener
from tests.sinks.test_relay import ONE, PATH, Watched, done, relay_of, relaying, words

STORES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a real PostgreSQL server, or skip, saying why."""
    with postgres() as url:
        yield url


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_schema(postgres_server) as url:
        await migrate(url)
        yield url


@asynccontextmanager
async def opener_of(name: str, request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Any]:
    """Give what opens a store."""
    if name == "memory":
        yield memory_opener(clock)
    elif name == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        yield sqlite_opener(folder / "batuta.db", clock)
    else:
        async with fresh_schema(request.getfixturevalue("postgres_server")) as url:
            await migrate(url)
            yield postgres_opener(url)


@pytest.fixture(params=STORES)
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    clock = Clock()
    async with (
        opener_of(request.param, request, clock) as opener,
        running(opener, clock) as found,
    ):
        await found.register(ONE)
        yield found


async def test_what_a_run_was_is_told_however_late(node: Node) -> None:
    sink = Watched()
    await relay_of(node, sink).begin()
    [plain] = await done(node)
    [gone] = await done(node)
    await node.engine.control(DeleteWorkflow(workflow_id=gone))
    [again] = await done(node)
    await node.engine.control(RestartWorkflow(workflow_id=again))
    await node.work("work", 1)

    async with relaying(node, sink):
        told = await sink.has(16)

    by_run = {
        run: words([one for one in told if one["workflowId"] == run])
        for run in (plain, gone, again)
    }
    assert by_run[plain] == by_run[gone] == PATH
    assert by_run[again] == [*PATH, "work SCHEDULED", "run RUNNING", *PATH[2:]]


async def test_it_goes_on_where_it_left_off_on_this_store(node: Node) -> None:
    first, second = Watched(), Watched()
    async with relaying(node, first):
        await done(node, 3)
        await first.has(12)
    await done(node, 3)
    async with relaying(node, second):
        await second.has(12)

    assert len(first.arrived) == len(second.arrived) == 12
    assert not {one.key for one in first.arrived} & {one.key for one in second.arrived}


@pytest.mark.postgres
async def test_two_nodes_relay_a_sink_one_at_a_time_and_lose_nothing(postgres_url: str) -> None:
    clock = Clock()
    opener = postgres_opener(postgres_url)
    async with running(opener, clock) as one, running(opener, clock) as two:
        await one.register(ONE)
        mine, theirs = Watched(), Watched()
        holder, other = relay_of(one, mine, node="a"), relay_of(two, theirs, node="b")
        await holder.begin()
        await other.begin()
        relaying_ = [asyncio.create_task(relay.run(lambda: None)) for relay in (holder, other)]
        one.engine.listeners.append(holder.hint)
        await asyncio.gather(done(one, 10), done(two, 10))
        await mine.has(80)
        assert not theirs.arrived
        assert (holder.facts()["isHolder"], other.facts()["isHolder"]) == (True, False)

        relaying_[0].cancel()  # the first node stops, and frees its cursor
        with suppress(asyncio.CancelledError):
            await relaying_[0]
        await asyncio.gather(done(one, 10), done(two, 10))
        async with asyncio.timeout(FREE_AGAIN_S + 20):
            await theirs.has(80)
        relaying_[1].cancel()
        with suppress(asyncio.CancelledError):
            await relaying_[1]

    every = [one.record_id for one in [*mine.arrived, *theirs.arrived]]
    assert len(every) == len(set(every)) == 160


@pytest.mark.postgres
async def test_the_cursor_of_a_node_that_died_is_free_after_its_lease(postgres_url: str) -> None:
    clock = Clock()
    async with running(postgres_opener(postgres_url), clock) as node:
        await node.register(ONE)
        dead = await PostgresStore.open(postgres_url)
        now_ms = clock.now_ms()
        await dead.cursors.take("test", "dead", now_ms=now_ms, until_ms=now_ms + LEASE_MS)
        await dead.close()
        await done(node)
        sink = Watched()
        early = relay_of(node, sink, node="n")
        await early.begin()
        assert not early.facts()["isHolder"]

        clock.move(LEASE_MS + 1)
        async with relaying(node, sink, node="n"):
            told = await sink.has(4)

    assert words(told) == PATH
