"""Runs with workers in the server's process: one step, chains of ten, and an idle chain.

The client, the workers and the engine share one process and one event loop; the SQLite store is
durable (synchronous=FULL). A run counts when its last report is on disk.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from batuta import app
from batuta.config import Settings
from batuta.model.payload import Payload
from batuta.runtime.commit.batch import Share
from batuta.runtime.engine import Engine
from batuta.runtime.view import StartRequest
from batuta.workers.function import task, task_functions
from batuta.workers.local import LocalTransport
from batuta.workers.loop import Workers

LANES = 200  # workers of the one task type; also the number of clients that start runs
INPUT = Payload(b'{"x": 1}')


@task("bench_step", inline=True, concurrency=LANES)
async def bench_step(x: int) -> dict[str, Any]:
    """Answer at once: what is measured is the engine."""
    return {"v": x}


def definition(name: str, steps: int) -> dict[str, Any]:
    """Return a chain of ``steps`` SIMPLE tasks; each takes the input's x."""
    return {
        "name": name,
        "version": 1,
        "tasks": [
            {
                "name": "bench_step",
                "taskReferenceName": f"s{number}",
                "type": "SIMPLE",
                "inputParameters": {"x": "${workflow.input.x}"},
            }
            for number in range(steps)
        ],
    }


@asynccontextmanager
async def live_engine(folder: Path) -> AsyncIterator[Engine]:
    """Give an engine on a new SQLite file with the chains registered and workers running."""
    settings = Settings(db=str(folder / "bench.db"))
    async with app.open_engine(settings) as engine:
        definitions = [definition("one_step", 1), definition("ten_steps", 10)]
        await engine.definitions.put_workflow_defs(definitions, overwrite=True)
        workers = Workers(LocalTransport(engine), list(task_functions({"bench_step": bench_step})))
        workers.start()
        try:
            yield engine
        finally:
            await workers.drain(5_000)


class Ends:
    """Counts the runs that end, as the journal's listeners see them."""

    def __init__(self, engine: Engine) -> None:
        self._left = 0
        self._done = asyncio.Event()
        engine.listeners.append(self._on_commit)

    def expect(self, count: int) -> None:
        """Wait for ``count`` more ends from now on."""
        self._left = count
        self._done.clear()

    async def wait(self) -> None:
        """Return when all expected runs have ended."""
        await self._done.wait()

    def _on_commit(self, share: Share) -> None:
        if share.execution.workflow.status.is_terminal:
            self._left -= 1
            if self._left <= 0:
                self._done.set()


async def runs_per_s(engine: Engine, ends: Ends, name: str, count: int) -> float:
    """Start ``count`` runs by LANES clients and return how many end in a second."""
    ends.expect(count)
    started = time.perf_counter()
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await engine.start(StartRequest(name=name, input=INPUT))

    await asyncio.gather(*(client() for _ in range(LANES)))
    await ends.wait()
    return count / (time.perf_counter() - started)


async def idle_chain_ms(engine: Engine, ends: Ends, count: int) -> dict[str, float]:
    """Run ten-step chains one at a time; return p50 and p99 from start to end in ms."""
    times: list[float] = []
    for _ in range(count):
        ends.expect(1)
        started = time.perf_counter()
        await engine.start(StartRequest(name="ten_steps", input=INPUT))
        await ends.wait()
        times.append((time.perf_counter() - started) * 1_000)
    times.sort()
    return {
        "p50": round(statistics.median(times), 2),
        "p99": round(times[max(int(len(times) * 0.99) - 1, 0)], 2),
    }


async def single_commit_ms(engine: Engine, count: int) -> float:
    """Return the median of one command alone: a heartbeat-sized commit, start to answer."""
    times: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        await engine.start(StartRequest(name="parked", input=INPUT))
        times.append((time.perf_counter() - started) * 1_000)
    return round(statistics.median(times), 3)


PARKED = {
    "name": "parked",
    "version": 1,
    "tasks": [{"name": "wait", "taskReferenceName": "wait", "type": "WAIT"}],
}


async def measure(folder: Path, *, runs: int, chains: int, idle: int) -> dict[str, Any]:
    """Return one pass of every in-process figure."""
    async with live_engine(folder) as engine:
        await engine.definitions.put_workflow_defs([PARKED], overwrite=True)
        ends = Ends(engine)
        await runs_per_s(engine, ends, "one_step", runs // 10)  # warm-up: imports, page cache
        figures: dict[str, Any] = {
            "one_step_runs_per_s": round(await runs_per_s(engine, ends, "one_step", runs)),
            "ten_step_chains_per_s": round(await runs_per_s(engine, ends, "ten_steps", chains)),
        }
        latency = await idle_chain_ms(engine, ends, idle)
        figures["idle_chain_p50_ms"] = latency["p50"]
        figures["idle_chain_p99_ms"] = latency["p99"]
        figures["single_commit_p50_ms"] = await single_commit_ms(engine, idle)
        return figures
