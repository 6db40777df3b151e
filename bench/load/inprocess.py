"""Runs with workers in the server's process: throughput, runs alone, and an idle chain.

The client, the workers and the engine share one process and one event loop; the SQLite store is
durable (synchronous=FULL). A run counts when its last report is on disk. "Alone" is one run after
the other on an idle engine, from its start to its end. CPU is that of the whole process, the
store's thread, the workers and the client included.
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
from bench.load import shapes
from bench.load.shapes import Shape

COMMITS_OF_CHAIN = 11
CHAIN_MARGIN_MS = 1.5
LANES = 200  # workers of the one task type; also the number of clients that start runs

# (shape, how many runs alone at scale 1)
ALONE = (
    (shapes.fan_out(100), 40),
    (shapes.fan_out(1_000), 10),
    (shapes.fan_out(5_000), 3),
    (shapes.TREE, 20),
    (shapes.loop(1_000), 4),
)


@task(shapes.TASK_TYPE, inline=True, concurrency=LANES)
async def bench_step(x: int) -> dict[str, Any]:
    """Answer at once: what is measured is the engine."""
    return {"v": x}


@asynccontextmanager
async def live_engine(folder: Path) -> AsyncIterator[Engine]:
    """Give an engine on the SQLite file of a folder with every shape registered."""
    async with app.open_engine(Settings(db=str(folder / "bench.db"))) as engine:
        await engine.definitions.put_workflow_defs(shapes.definitions(), overwrite=True)
        yield engine


@asynccontextmanager
async def working(engine: Engine) -> AsyncIterator[None]:
    """Have LANES workers in this process."""
    functions = list(task_functions({"bench_step": bench_step}))
    workers = Workers(LocalTransport(engine), functions)
    workers.start()
    try:
        yield
    finally:
        await workers.drain(5_000)


class Ends:
    """Counts the runs of one workflow that end, as the journal's listeners see them."""

    def __init__(self, engine: Engine) -> None:
        self._left = 0
        self._workflow = ""
        self._done = asyncio.Event()
        engine.listeners.append(self._on_commit)

    def expect(self, shape: Shape, count: int) -> None:
        """Wait for ``count`` more ends from now on."""
        self._workflow, self._left = shape.workflow, count
        self._done.clear()

    async def wait(self) -> None:
        """Return when all expected runs have ended."""
        await self._done.wait()

    def _on_commit(self, share: Share) -> None:
        workflow = share.execution.workflow
        if workflow.status.is_terminal and workflow.name == self._workflow:
            assert workflow.status == "COMPLETED", f"{workflow.name}: {workflow.reason}"
            self._left -= 1
            if self._left <= 0:
                self._done.set()


async def start(engine: Engine, shape: Shape) -> str:
    """Start one run and return its id."""
    return await engine.start(StartRequest(name=shape.workflow, input=Payload(shape.input)))


async def start_many(engine: Engine, shape: Shape, count: int) -> None:
    """Start ``count`` runs by LANES clients."""
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await start(engine, shape)

    await asyncio.gather(*(client() for _ in range(min(LANES, count))))


async def together(engine: Engine, ends: Ends, shape: Shape, count: int) -> dict[str, float]:
    """Start ``count`` runs as fast as they are taken; return runs a second and CPU a task."""
    ends.expect(shape, count)
    started, cpu = time.perf_counter(), time.process_time()
    await start_many(engine, shape, count)
    await ends.wait()
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "runs_per_s": round(count / elapsed),
        "cpu_us_per_task": round(cpu / count / shape.tasks * 1e6, 1),
    }


async def alone(engine: Engine, ends: Ends, shape: Shape, count: int) -> dict[str, float]:
    """Do runs one after the other; return ms of each, p50 and p99, and CPU a task."""
    times: list[float] = []
    cpu = time.process_time()
    for _ in range(count):
        ends.expect(shape, 1)
        started = time.perf_counter()
        await start(engine, shape)
        await ends.wait()
        times.append((time.perf_counter() - started) * 1_000)
    cpu = time.process_time() - cpu
    return {**percentiles(times), "cpu_us_per_task": round(cpu / count / shape.tasks * 1e6, 1)}


def percentiles(times_ms: list[float]) -> dict[str, float]:
    """Return p50 and p99 (the largest, of fewer than 100) of times in ms."""
    times_ms = sorted(times_ms)
    return {
        "p50_ms": round(statistics.median(times_ms), 2),
        "p99_ms": round(times_ms[min(int(len(times_ms) * 0.99), len(times_ms) - 1)], 2),
    }


async def single_commit_ms(engine: Engine, count: int) -> float:
    """Return the median of one command alone: a start, to its answer."""
    times: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        await start(engine, shapes.PARKED)
        times.append((time.perf_counter() - started) * 1_000)
    return round(statistics.median(times), 3)


def named(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    """Return figures with a prefix to their names."""
    return {f"{prefix}_{name}": value for name, value in figures.items()}


async def measure(folder: Path, scale: float) -> dict[str, float]:
    """Return one pass: throughput of short runs, an idle chain, and one commit alone."""
    async with live_engine(folder) as engine, working(engine):
        ends = Ends(engine)
        runs, chains, idle = int(12_000 * scale), int(1_500 * scale), max(int(200 * scale), 5)
        await together(engine, ends, shapes.ONE_STEP, runs // 10)  # warm-up: imports, page cache
        one = await together(engine, ends, shapes.ONE_STEP, runs)
        ten = await together(engine, ends, shapes.TEN_STEPS, chains)
        idle_chain = await alone(engine, ends, shapes.TEN_STEPS, idle)
        commit_ms = await single_commit_ms(engine, idle)
        # A start and ten reports, each its own commit; the rest is what the engine may take.
        allowed_ms = COMMITS_OF_CHAIN * commit_ms + CHAIN_MARGIN_MS
        return {
            **named("one_step", one),
            **named("ten_steps", ten),
            **named("idle_chain", idle_chain),
            "single_commit_p50_ms": commit_ms,
            "idle_chain_to_allowed": round(idle_chain["p50_ms"] / allowed_ms, 2),
        }


async def measure_alone(folder: Path, scale: float) -> dict[str, float]:
    """Return one pass of the wide and the long runs: fan-outs, trees and loops."""
    figures: dict[str, float] = {}
    async with live_engine(folder) as engine, working(engine):
        ends = Ends(engine)
        await alone(engine, ends, shapes.fan_out(100), 3)  # warm-up
        for shape, count in ALONE:
            found = await alone(engine, ends, shape, max(round(count * scale), 1))
            figures |= named(shape.title, found)
    return figures
