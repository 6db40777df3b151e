"""Many finished runs: what a step costs after them, and how fast they are listed and found.

They are one-step runs done by workers in this process. Throughput is measured on the empty
store, and again when they are all there; then a server is asked for pages over HTTP.
"""

import asyncio
import time
from pathlib import Path
from urllib.parse import quote

import msgspec
import uvloop

from bench.load import shapes
from bench.load.client import Connection, expect
from bench.load.inprocess import Ends, live_engine, named, percentiles, together, working
from bench.load.server import Server

SAMPLE = 3_000  # runs whose throughput is compared
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
    """Finish ``count`` runs; return throughput and CPU before and after."""
    async with live_engine(folder) as engine, working(engine):
        ends = Ends(engine)
        await together(engine, ends, shapes.ONE_STEP, SAMPLE)
        before = await together(engine, ends, shapes.ONE_STEP, SAMPLE)
        await together(engine, ends, shapes.ONE_STEP, max(count - 3 * SAMPLE, 1))
        after = await together(engine, ends, shapes.ONE_STEP, SAMPLE)
    lost = 1 - after["runs_per_s"] / before["runs_per_s"]
    return {
        "throughput_lost_percent": round(100 * max(lost, 0), 1),
        "runs_per_s_before": before["runs_per_s"],
        "runs_per_s_after": after["runs_per_s"],
        "cpu_us_per_run_before": before["cpu_us_per_task"],
        "cpu_us_per_run_after": after["cpu_us_per_task"],
    }


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
