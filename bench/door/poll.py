"""Many clients that look at a flow each half second, as its page does, beside runs that work.

Each client has a connection and a run of its own. What a look takes is timed from the request to
its answer; a chain of steps goes on beside them.
"""

import asyncio
import json
import time
from pathlib import Path

from bench.load.client import Connection, expect
from bench.load.http import idle_chain, register
from bench.load.inprocess import named, percentiles
from bench.load.server import Server

CLIENTS = 1_000
EVERY_S = 0.5
SECONDS = 6.0
CHAINS = 20
STARTERS = 8
NODES = [
    {"id": "one", "type": "split_text", "config": {"text": '["a", "b"]', "splitMode": "array"}},
    {"id": "two", "type": "split_text", "config": {"text": '["a"]', "splitMode": "array"}},
]


async def _clients(port: int, runs: list[str], until: float) -> list[float]:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def client(number: int, workflow_id: str) -> None:
        connection = await Connection.open("127.0.0.1", port)
        due = loop.time() + EVERY_S * number / len(runs)  # spread over the half second
        while due < until:
            await asyncio.sleep(max(due - loop.time(), 0))
            begun = time.perf_counter()
            await expect(connection, "GET", f"/workflow/{workflow_id}/status")
            times.append((time.perf_counter() - begun) * 1_000)
            due += EVERY_S
        connection.close()

    await asyncio.gather(*(client(number, run) for number, run in enumerate(runs)))
    return times


async def _start(port: int, count: int) -> list[str]:
    body = json.dumps({"workflowName": "polled", "nodes": NODES}).encode()
    left, runs = iter(range(count)), []

    async def starter() -> None:
        connection = await Connection.open("127.0.0.1", port)
        for _ in left:
            answer = json.loads(await expect(connection, "POST", "/workflow/run", body))
            runs.append(answer["workflowId"])
        connection.close()

    await asyncio.gather(*(starter() for _ in range(STARTERS)))
    return runs


async def _measure(server: Server, count: int) -> dict[str, float]:
    await register(server.port)
    runs = await _start(server.port, count)
    before = await idle_chain(server.port, CHAINS)
    cpu_s, begun = server.cpu_s(), time.perf_counter()
    until = asyncio.get_running_loop().time() + SECONDS
    looking = asyncio.create_task(_clients(server.port, runs, until))
    beside = await idle_chain(server.port, CHAINS)
    times = await looking
    elapsed_s, cpu_s = time.perf_counter() - begun, server.cpu_s() - cpu_s
    return {
        "looks_per_s": round(len(times) / elapsed_s),
        "server_cores": round(cpu_s / elapsed_s, 2),
        "chain_p50_ms_without": before["p50_ms"],
        "chain_p50_ms_beside": beside["p50_ms"],
        **percentiles(times),
    }


def measure(folder: Path, count: int) -> dict[str, float]:
    """Return what ``count`` clients that look twice a second cost a server."""
    with Server(folder / "poll.db", environment={"BATUTA_AI": "fake"}) as server:
        return named("flow_poll", asyncio.run(_measure(server, count)))
