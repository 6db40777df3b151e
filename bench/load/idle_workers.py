"""Many workers that poll an empty queue: what they cost, and what a step takes beside them."""

import asyncio
import time
from pathlib import Path

from bench.load.client import Connection, expect
from bench.load.http import idle_chain, register
from bench.load.inprocess import named
from bench.load.server import Server

WORKERS = 1_000
POLL_WAIT_MS = 1_000  # a second's long poll: so each worker asks once a second
SECONDS = 5.0
CHAINS = 20


async def _poll(port: int, number: int, counts: list[int]) -> None:
    connection = await Connection.open("127.0.0.1", port)
    path = f"/api/tasks/poll/batch/nobody_{number % 10}?workerid=w{number}&count=1"
    path += f"&timeout={POLL_WAIT_MS}"
    while True:
        await expect(connection, "GET", path)
        counts[number] += 1


async def _measure(server: Server, workers: int) -> dict[str, float]:
    await register(server.port)
    before = await idle_chain(server.port, CHAINS)
    rss_mb = server.rss_mb()
    counts = [0] * workers
    polling = [asyncio.create_task(_poll(server.port, n, counts)) for n in range(workers)]
    while not all(counts):  # everybody is connected, and has come round once
        await asyncio.wait(polling, timeout=0.05)
    begun, cpu, first = time.perf_counter(), server.cpu_s(), sum(counts)
    await asyncio.wait(polling, timeout=SECONDS)
    cpu, polls = server.cpu_s() - cpu, sum(counts) - first
    cores = cpu / (time.perf_counter() - begun)
    beside = await idle_chain(server.port, CHAINS)
    rss_mb = server.rss_mb() - rss_mb
    for one in polling:
        one.cancel()
    await asyncio.gather(*polling, return_exceptions=True)
    return {
        "polls_per_s": round(polls / SECONDS),
        "server_cores": round(cores, 3),
        "server_cpu_us_per_poll": round(cpu / max(polls, 1) * 1e6, 1),
        "rss_kb_per_worker": round(rss_mb * 1_000 / workers, 1),
        "chain_p50_ms_without": before["p50_ms"],
        "chain_p50_ms_beside": beside["p50_ms"],
    }


def measure(folder: Path, workers: int) -> dict[str, float]:
    """Return what ``workers`` idle workers cost a server."""
    with Server(folder / "idle.db") as server:
        return named("idle_workers", asyncio.run(_measure(server, workers)))
