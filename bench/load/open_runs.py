"""Many open runs: memory, ready after kill -9, and what a step takes among them.

Half of them have a task in a queue that nobody polls, half wait for a person: neither can move.
They are started over HTTP at the server that is then killed and started again.
"""

import asyncio
import time
from pathlib import Path

from bench.load import shapes
from bench.load.client import Connection, expect
from bench.load.http import TASKS, idle_chain, register, report
from bench.load.inprocess import named, percentiles
from bench.load.server import Server
from bench.load.shapes import Shape

STARTERS = 32
CHAINS = 20
COLD_STEPS = 50  # open runs that are moved on after the restart: none is in memory yet


async def _fill(port: int, count: int) -> None:
    left = iter(range(count))

    async def starter() -> None:
        connection = await Connection.open("127.0.0.1", port)
        for number in left:
            shape: Shape = shapes.PARKED if number % 2 else shapes.UNPOLLED
            await expect(connection, "POST", f"/api/workflow/{shape.workflow}", shape.input)
        connection.close()

    await asyncio.gather(*(starter() for _ in range(STARTERS)))


async def _prepare(port: int) -> None:
    await register(port)
    await idle_chain(port, CHAINS)


async def _after(port: int) -> dict[str, float]:
    """Return the latency of steps of runs that the server has to load, and of new ones."""
    connection = await Connection.open("127.0.0.1", port)
    cold: list[float] = []
    for _ in range(COLD_STEPS):
        started = time.perf_counter()
        poll = "/api/tasks/poll/batch/unpolled_step?workerid=w&count=1&timeout=1000"
        [found] = TASKS.decode(await expect(connection, "GET", poll))
        await expect(connection, "POST", "/api/tasks", report(found))
        cold.append((time.perf_counter() - started) * 1_000)
    connection.close()
    return {
        **named("cold_step", percentiles(cold)),
        **named("chain", await idle_chain(port, CHAINS)),
    }


async def _healthy(port: int) -> None:
    connection = await Connection.open("127.0.0.1", port)
    await expect(connection, "GET", "/health")
    connection.close()


def measure(folder: Path, count: int) -> dict[str, float]:
    """Return what ``count`` open runs cost a server, and a restart among them."""
    db = folder / "open.db"
    with Server(db) as server:
        asyncio.run(_prepare(server.port))
        empty_mb = server.rss_mb()
        cpu, begun = server.cpu_s(), time.perf_counter()
        asyncio.run(_fill(server.port, count))
        fill_s, cpu = time.perf_counter() - begun, server.cpu_s() - cpu
        full_mb = server.rss_mb()
        server.kill()
    begun = time.perf_counter()
    with Server(db) as server:
        asyncio.run(_healthy(server.port))
        ready_s = time.perf_counter() - begun
        again_mb = server.rss_mb()
        after = asyncio.run(_after(server.port))
    figures = {
        "count": count,
        "starts_per_s": round(count / fill_s),
        "server_cpu_us_per_start": round(cpu / count * 1e6, 1),
        "rss_kb_per_run": round((full_mb - empty_mb) * 1_000 / count, 2),
        "rss_kb_per_run_after_restart": round((again_mb - empty_mb) * 1_000 / count, 2),
        "ready_after_kill_s": round(ready_s, 3),
        "disk_kb_per_run": round(db.stat().st_size / 1_000 / count, 2),
        **after,
    }
    return named("open_runs", figures)
