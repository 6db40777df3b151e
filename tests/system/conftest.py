"""An engine with the HTTP worker, and a server for it to call."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batuta.model.change import Failure
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine
from batuta.runtime.view import RunView, StartRequest
from batuta.store.memory import MemoryStore
from batuta.workers.local import LocalTransport
from batuta.workers.loop import Workers
from batuta.workers.system.http import http_function
from batuta.workers.system.target import Targets
from tests.system.server import Target, serving

ENDED = {"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"}
LOCAL = Targets(is_shared=False)


class NoScripts:
    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        raise AssertionError(f"nobody asked for {source!r} with {argument!r}")


class House:
    """An engine and its HTTP worker."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._names = itertools.count()

    async def start(self, task_input: dict[str, Any], **node: Any) -> str:
        """Start a run of one HTTP task."""
        name = f"calls_{next(self._names)}"
        task = {"name": "call", "taskReferenceName": "call", "type": "HTTP"}
        document = {"name": name, "tasks": [{**task, "inputParameters": task_input, **node}]}
        await self.engine.definitions.put_workflow_defs([document], overwrite=True)
        return await self.engine.start(StartRequest(name=name))

    async def until(self, workflow_id: str, statuses: set[str] = ENDED) -> RunView:
        """Wait until the last task, or the run, has one of the statuses."""
        async with asyncio.timeout(20):
            while True:
                run = await self.engine.get(workflow_id)
                if {run.workflow.status.value, run.tasks[-1].task.status.value} & statuses:
                    return run
                await asyncio.sleep(0.005)

    async def until_held(self, workflow_id: str, *, has_beaten: bool = False) -> None:
        """Wait until the worker has the run's task, and has renewed its lease if so asked."""
        async with asyncio.timeout(20):
            while True:
                lease = (await self.engine.get(workflow_id)).tasks[0].lease
                if lease and (not has_beaten or lease.polled_at_ms > lease.started_at_ms):
                    return
                await asyncio.sleep(0.005)

    async def call(self, **request: Any) -> RunView:
        """Run one HTTP task to its end."""
        return await self.until(await self.start({"http_request": request}))


@contextlib.asynccontextmanager
async def housed(targets: Targets = LOCAL, *, drain_ms: int = 2_000) -> AsyncIterator[House]:
    """Give an engine with an HTTP worker that follows a rule."""
    store = MemoryStore(wall_ms)
    seeds = itertools.count()
    engine = Engine(
        store,
        now_ms=wall_ms,
        scripts=NoScripts(),
        seeds=lambda: next(seeds).to_bytes(16, "big"),
    )
    engine.start_loops()
    workers = Workers(LocalTransport(engine), [http_function(targets, concurrency=4)])
    workers.start()
    try:
        yield House(engine)
    finally:
        await workers.drain(drain_ms)
        await engine.stop()
        await store.close()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """Give the server that is called."""
    async with serving() as target:
        yield target


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Give an engine whose HTTP worker may call this machine."""
    async with housed() as house:
        yield house
