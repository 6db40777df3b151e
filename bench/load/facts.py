"""Cold start, idle memory, and the latency of a commit beside a saturated event loop."""

import asyncio
import time
from pathlib import Path
from typing import Any

from batuta.runtime.view import StartRequest
from bench.load.client import Connection, expect
from bench.load.inprocess import INPUT, PARKED, live_engine
from bench.load.server import Server

IDLE_S = 2.0  # how long a server is left alone before its memory is read


async def _healthy(port: int) -> None:
    connection = await Connection.open("127.0.0.1", port)
    await expect(connection, "GET", "/health")
    connection.close()


def start_and_memory(folder: Path) -> dict[str, Any]:
    """Return seconds from exec to the first healthy answer, and MB resident after IDLE_S."""
    started = time.perf_counter()
    with Server(folder / "cold.db", core=None) as server:
        asyncio.run(_healthy(server.port))
        healthy_s = time.perf_counter() - started
        time.sleep(IDLE_S)
        rss_mb = server.rss_mb()
    return {"cold_start_s": round(healthy_s, 3), "idle_rss_mb": rss_mb}


async def busy_commit_ms(folder: Path, *, seconds: float) -> dict[str, Any]:
    """Return p50 and p99 of a start while the loop is at 100 % with other callbacks."""
    async with live_engine(folder) as engine:
        await engine.definitions.put_workflow_defs([PARKED], overwrite=True)
        loop = asyncio.get_running_loop()
        is_on = True

        def burn() -> None:
            """Keep the loop busy: 200 us of work, then again."""
            until = time.perf_counter() + 0.0002
            while time.perf_counter() < until:
                pass
            if is_on:
                loop.call_soon(burn)

        burn()
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            await engine.start(StartRequest(name="parked", input=INPUT))
            times.append((time.perf_counter() - started) * 1_000)
        is_on = False
        times.sort()
        return {
            "busy_commit_p50_ms": round(times[len(times) // 2], 2),
            "busy_commit_p99_ms": round(times[int(len(times) * 0.99) - 1], 2),
        }
