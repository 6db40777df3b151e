"""Many finished runs: what a step costs after them, and how fast they are listed and found.

They are one-step runs done by workers in this process. When they are all there, throughput is
measured in turns with an engine on a store that has next to none; then a server is asked for
pages over HTTP.
"""

import asyncio
import statistics
import time
from pathlib import Path
from urllib.parse import quote

import msgspec
import uvloop

from bench.load import shapes
from bench.load.client import Connection, expect
from bench.load.inprocess import Ends, live_engine, named, percentiles, together, working
from bench.load.server import Server

SAMPLE = 1_500  # runs of a turn
TURNS = 8  # of each store
ASKED = 20  # how often each question is asked
PAGE = 100

_COMPLETED = quote("status=COMPLETED")
_ONE_NAME = quote("workflowType=one_step AND status=COMPLETED")
_FAILED = quote("status=FAILED")

# What a user asks: a page of the newest, one far on, by field, what there is none of, by id.
QUESTIONS = {
    "list": f"/api/workflow/search?start=0&size={PAGE}&sort=startTime:DESC",
    "deep_list": f"/api/workflow/search?start={{deep}}&size={PAGE}&sort=startTime:DESC",
    "search_status": f"/api/workflow/search?size={PAGE}&query={_COMPLETED}",
    "search_name": f"/api/workflow/search?size={PAGE}&query={_ONE_NAME}",
    "search_none": f"/api/workflow/search?size={PAGE}&query={_FAILED}",
    "search_tasks": f"/api/tasks/search?size={PAGE}&query={_COMPLETED}",
    "get": "/api/workflow/{workflow_id}",
    "status": "/api/batuta/status",
}


class _Run(msgspec.Struct, rename="camel"):
    workflow_id: str


class _Page(msgspec.Struct, rename="camel"):
    results: list[_Run]


async def _fill(folder: Path, count: int) -> dict[str, float]:
    """Finish ``count`` runs; return throughput and CPU on that store and on a nearly empty one.

    Both are measured in turns, so that what else slows the machine down slows both.
    """
    (folder / "empty").mkdir()
    found: dict[str, list[dict[str, float]]] = {"empty": [], "full": []}
    async with (
        live_engine(folder) as full,
        working(full),
        live_engine(folder / "empty") as empty,
        working(empty),
    ):
        turns = [("empty", empty, Ends(empty)), ("full", full, Ends(full))]
        await together(empty, turns[0][2], shapes.ONE_STEP, SAMPLE)
        await together(full, turns[1][2], shapes.ONE_STEP, max(count - TURNS * SAMPLE, 1))
        for _ in range(TURNS):
            for name, engine, ends in turns:
                found[name].append(await together(engine, ends, shapes.ONE_STEP, SAMPLE))
            turns.reverse()
    pairs = zip(found["empty"], found["full"], strict=True)
    kept = statistics.median(after["runs_per_s"] / before["runs_per_s"] for before, after in pairs)
    figures = {"throughput_lost_percent": round(100 * max(1 - kept, 0), 1)}
    for name in ("runs_per_s", "cpu_us_per_task"):
        for store, samples in found.items():
            figures[f"{store}_{name}"] = statistics.median(one[name] for one in samples)
    return figures


async def _ask(port: int, count: int) -> dict[str, float]:
    """Return p50 and p99 of each question, each time by its own connection's turn."""
    connection = await Connection.open("127.0.0.1", port)
    deep = min(count // 2, 9_900)
    answer = await expect(connection, "GET", QUESTIONS["deep_list"].format(deep=deep))
    ids = [run.workflow_id for run in msgspec.json.decode(answer, type=_Page).results]
    figures: dict[str, float] = {}
    for name, path in QUESTIONS.items():
        times = []
        for number in range(ASKED):
            asked = path.format(deep=deep, workflow_id=ids[number % len(ids)])
            started = time.perf_counter()
            await expect(connection, "GET", asked)
            times.append((time.perf_counter() - started) * 1_000)
        figures |= named(name, percentiles(times))
    connection.close()
    return figures


def measure(folder: Path, count: int) -> dict[str, float]:
    """Return what ``count`` finished runs cost."""
    figures = {"count": float(count), **uvloop.run(_fill(folder, count))}
    db = folder / "bench.db"
    begun = time.perf_counter()
    with Server(db) as server:
        figures["ready_s"] = round(time.perf_counter() - begun, 3)
        figures |= asyncio.run(_ask(server.port, count))
        figures["server_rss_mb"] = server.rss_mb()
    figures["disk_kb_per_run"] = round(db.stat().st_size / 1_000 / count, 2)
    return named("finished_runs", figures)
