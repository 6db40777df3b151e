"""A server with its dialects, in memory: the application, the engine, the workers inside."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from batuta.api import create_app
from batuta.dialects import Host, open_dialects
from batuta.runtime.clock import StoreClock
from batuta.runtime.commit.batch import Share
from batuta.runtime.engine import Engine, EngineStore
from batuta.store.memory import MemoryStore
from batuta.workers.local import LocalTransport
from batuta.workers.loop import Workers
from batuta.workers.system.target import targets_of
from tests.api.client import Client
from tests.api.conftest import NoScripts, Settings

LIMIT_S = 20  # of any wait; only a hang comes near it


class Served:
    """A running server and what a test asks of it."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.engine = engine
        self.ask = client.ask
        self._has_committed = asyncio.Event()
        engine.listeners.append(self._note)

    def _note(self, _: Share) -> None:
        self._has_committed.set()

    async def ended(self, workflow_id: str) -> None:
        """Return when a run has ended; looked at after each commit."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                self._has_committed.clear()
                run = await self.engine.get(workflow_id, with_tasks=False)
                if run.workflow.status.is_terminal:
                    return
                await self._has_committed.wait()


@asynccontextmanager
async def served(
    store: EngineStore,
    *,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    has_workers: bool = True,
    now_ms: Callable[[], int] | None = None,
    node: str = "n",
    **host_fields: Any,
) -> AsyncIterator[Served]:
    """Give a server on a store that somebody else closes; the host has what more is said."""
    engine = Engine(store, now_ms=now_ms or StoreClock().now_ms, scripts=NoScripts(), node=node)
    if not store.is_shared:
        await engine.take_back_local_leases()
    engine.start_loops()
    host = Host(
        engine=engine,
        targets=targets_of((), is_shared=False),
        functions=functions or {},
        delay_percent=0,
        **host_fields,
    )
    dialects = await open_dialects(host)
    pool = Workers(LocalTransport(engine), [one for d in dialects for one in d.functions])
    if has_workers:
        pool.start()
    for dialect in dialects:
        for name, loop in dialect.loops.items():
            engine.supervisor.start(name, loop)
    client = Client(create_app(engine, Settings(), mounts=[one.mount for one in dialects]))
    try:
        yield Served(engine, client)
    finally:
        await pool.drain(1_000)
        await engine.stop()


def memory() -> MemoryStore:
    """Return an empty store."""
    return MemoryStore(StoreClock().now_ms)


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    """Give a server on a memory store."""
    store = memory()
    async with served(store) as found:
        yield found
    await store.close()
