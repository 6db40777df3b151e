"""Many event streams of open runs: what one costs that is silent, and how late a change is told.

Each stream follows a run of its own. Then each run is moved by one report, a few at a time, and
each stream waits for the event that says so: the time counts from before the report is sent.
"""

import asyncio
import time
from pathlib import Path

from bench.load.client import Connection, expect
from bench.load.http import TASKS, register, report
from bench.load.inprocess import named, percentiles
from bench.load.server import Server
from bench.load.shapes import TASK_TYPE, TEN_STEPS

STREAMS = 1_000
SECONDS = 5.0  # of silence, for the cost of streams that are told nothing
WORKERS = 8  # connections that report
HELLO = b"GET /api/workflow/%b/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ENDED = b'"status":"COMPLETED"'


class Stream:
    """One reader; ``changed`` is set when an event told of a completed task."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.changed = asyncio.Event()

    async def read(self, port: int, workflow_id: bytes) -> None:
        """Read until it is cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000_000)
        writer.write(HELLO % workflow_id)
        try:
            name = b""
            while line := await reader.readline():
                if line.startswith(b"event: "):
                    name = line
                elif line.startswith(b"data: ") and name == b"event: snapshot\n":
                    self.begun.set()
                elif line.startswith(b"data: ") and ENDED in line:
                    self.changed.set()
        finally:
            writer.close()


async def _move(port: int, streams: dict[str, Stream]) -> list[float]:
    """Complete one task of each run; return how long its stream took to tell, in ms."""
    left = [len(streams)]
    times: list[float] = []

    async def worker() -> None:
        connection = await Connection.open("127.0.0.1", port)
        path = f"/api/tasks/poll/batch/{TASK_TYPE}?count=1&timeout=100"
        while left[0] > 0:
            for found in TASKS.decode(await expect(connection, "GET", path)):
                begun = time.perf_counter()
                await expect(connection, "POST", "/api/tasks", report(found))
                await streams[found.workflow_instance_id].changed.wait()
                times.append((time.perf_counter() - begun) * 1_000)
                left[0] -= 1
        connection.close()

    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    return times


async def _measure(server: Server, count: int) -> dict[str, float]:
    await register(server.port)
    starter = await Connection.open("127.0.0.1", server.port)
    streams: dict[str, Stream] = {}
    for _ in range(count):
        answer = await expect(starter, "POST", f"/api/workflow/{TEN_STEPS.workflow}", b"{}")
        streams[answer.decode()] = Stream()
    rss_mb = server.rss_mb()
    reading = [
        asyncio.create_task(stream.read(server.port, workflow_id.encode()))
        for workflow_id, stream in streams.items()
    ]
    for stream in streams.values():
        await asyncio.wait_for(stream.begun.wait(), 60)
    rss_mb = server.rss_mb() - rss_mb
    cpu = server.cpu_s()
    await asyncio.wait(reading, timeout=SECONDS)
    silent_cores = (server.cpu_s() - cpu) / SECONDS
    cpu, begun = server.cpu_s(), time.perf_counter()
    times = await _move(server.port, streams)
    elapsed_s = time.perf_counter() - begun
    for one in reading:
        one.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    starter.close()
    return {
        "rss_kb_per_stream": round(rss_mb * 1_000 / count, 1),
        "silent_cores": round(silent_cores, 3),
        "told_per_s": round(count / elapsed_s),
        "server_cpu_us_per_change": round((server.cpu_s() - cpu) / count * 1e6, 1),
        **named("told", percentiles(times)),
    }


def measure(folder: Path, count: int) -> dict[str, float]:
    """Return what ``count`` event streams cost a server."""
    with Server(folder / "streams.db") as server:
        return named("streams", asyncio.run(_measure(server, count)))
