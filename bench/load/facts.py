"""Cold start, idle memory, installed size, and a commit beside a saturated event loop."""

import asyncio
import re
import time
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import batuta
from bench.load import shapes
from bench.load.client import Connection, expect
from bench.load.inprocess import live_engine, named, percentiles, start
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
    return {
        "cold_start_s": round(healthy_s, 3),
        "idle_rss_mb": rss_mb,
        "installed_mb": installed_mb(),
    }


def installed_mb() -> float:
    """Return MB of batuta and all it needs at run time, compiled files included.

    The interpreter is not counted, nor pip, which is not needed once it is installed.
    """
    package = Path(batuta.__file__).parent
    total = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    seen, left = {"batuta"}, _needed(distribution("batuta"))
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # needed on other systems only
        left += _needed(found)
        paths = (Path(str(found.locate_file(file))) for file in found.files or ())
        total += sum(path.stat().st_size for path in paths if path.is_file())
    return round(total / 1e6, 1)


def _needed(found: Distribution) -> list[str]:
    """Return the names of what a distribution requires without any extra."""
    wanted = [line for line in found.requires or () if "extra ==" not in line]
    return [re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in wanted]


async def busy_commit(folder: Path, scale: float) -> dict[str, float]:
    """Return p50 and p99 of a start while the loop is at 100 % with other callbacks."""
    async with live_engine(folder) as engine:
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
        times: list[float] = []
        end = time.perf_counter() + 3 * scale
        while not times or time.perf_counter() < end:
            started = time.perf_counter()
            await start(engine, shapes.PARKED)
            times.append((time.perf_counter() - started) * 1_000)
        is_on = False
        return named("busy_commit", percentiles(times))
