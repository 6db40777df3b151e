"""Clients that dribble, that never read, that poll and never answer: others hardly notice."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from bench.load.client import Connection, expect
from tests.engine.definitions import chain, task_def
from tests.faults.pace import is_bearable, p99, register
from tests.faults.scan import open_runs, scan
from tests.faults.serving import Server

DRIBBLERS = 60
DEAF = 20
LARGE_BYTES = 900_000  # an answer that no socket buffer takes
DEAF_ASKS = 40  # answers that a client which never reads has asked for: 36 MB each
GROWTH_BYTES_MAX = 150_000_000  # two answers for each deaf client, and what their making takes
LEASE_S = 1
# Who has waited longest is served first: a mute worker with longer polls would be so every time.
GOOD_WAITS_MS = (700, 1_100)
MUTE_WAIT_MS = 90
RUNS = 40
END_S = 40

pytestmark = [pytest.mark.slow]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Give a server of its own process."""
    server = Server(tmp_path)
    await server.start()
    yield server
    server.end()
    assert scan(server.database) == []


async def test_dribbling_and_deaf_clients_slow_nobody_down(
    server: Server, report: Callable[..., None]
) -> None:
    steps = [task_def("held", responseTimeoutSeconds=60)]
    await register(server.port, chain("large", 1, "held"), tasks=steps)
    connection = await Connection.open("127.0.0.1", server.port)
    body = json.dumps({"x": "x" * LARGE_BYTES}).encode()
    run = (await expect(connection, "POST", "/api/workflow/large", body)).decode()
    before_s = await p99(server.port)
    process = psutil.Process(server.pid)
    before_bytes = process.memory_info().rss

    bad = [_connect(server.port) for _ in range(DRIBBLERS + DEAF)]
    ask = f"GET /api/workflow/{run} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for deaf in bad[DRIBBLERS:]:
        deaf.sendall(ask * DEAF_ASKS)
    dribbling = asyncio.create_task(_dribble(bad[:DRIBBLERS]))
    meanwhile_s = await p99(server.port)
    grown_bytes = process.memory_info().rss - before_bytes
    dribbling.cancel()
    await asyncio.gather(dribbling, return_exceptions=True)
    for one in bad:
        one.close()
    await expect(connection, "GET", "/health")
    connection.close()

    report(
        oracle="the 99th percentile of one-step runs, before and meanwhile; resident memory",
        rule="p99 at most doubled (or under 50 ms); memory bounded",
        clients=len(bad),
        p99_ms=[round(before_s * 1_000, 1), round(meanwhile_s * 1_000, 1)],
        grown_mb=round(grown_bytes / 1e6, 1),
    )
    assert is_bearable(before_s, meanwhile_s)
    assert grown_bytes < GROWTH_BYTES_MAX


def _connect(port: int) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port))
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    return found


async def _dribble(clients: list[socket.socket]) -> None:
    """Send a request that never ends, a byte now and then."""
    text = b"POST /api/workflow/paced HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 10_000
    for byte in text:
        for client in clients:
            with contextlib.suppress(OSError):  # the server may hang up on it
                client.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def test_a_worker_that_polls_and_never_answers_only_delays_its_own_tasks(
    server: Server, report: Callable[..., None]
) -> None:
    steps = [task_def("shared", responseTimeoutSeconds=LEASE_S, retryCount=1_000)]
    await register(server.port, chain("shared", 2, "shared"), tasks=steps)
    before_s = await p99(server.port)
    connection = await Connection.open("127.0.0.1", server.port)
    for _ in range(RUNS):
        await expect(connection, "POST", "/api/workflow/shared", b"{}")

    taken: list[str] = []
    mute = asyncio.create_task(_poll_and_be_mute(server.port, taken))
    meanwhile_s = await p99(server.port)
    begun = asyncio.get_running_loop().time()
    working = asyncio.gather(*(_work(server.port, wait_ms) for wait_ms in GOOD_WAITS_MS))
    async with asyncio.timeout(END_S):
        while await asyncio.to_thread(open_runs, server.database):
            assert not mute.done()
            assert not working.done()
            await asyncio.sleep(0.05)
    took_s = asyncio.get_running_loop().time() - begun
    for task in (mute, working):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    connection.close()

    assert len(taken) == len(set(taken)), "an attempt was handed out twice"
    assert len(taken) >= RUNS // 2, "the mute worker had its share"
    report(
        oracle="every run's end on disk; the 99th percentile of runs of another task type",
        rule=f"all {RUNS} runs end within {END_S} s beside it; others' p99 at most doubled",
        taken=len(taken),
        ended_s=round(took_s, 1),
        p99_ms=[round(before_s * 1_000, 1), round(meanwhile_s * 1_000, 1)],
    )
    assert is_bearable(before_s, meanwhile_s)


async def _poll_and_be_mute(port: int, taken: list[str]) -> None:
    connection = await Connection.open("127.0.0.1", port)
    while True:
        path = f"/api/tasks/poll/batch/shared?count=5&timeout={MUTE_WAIT_MS}&workerid=mute"
        tasks = json.loads(await expect(connection, "GET", path))
        taken += [task["taskId"] for task in tasks]
        await asyncio.sleep(0.1)


async def _work(port: int, wait_ms: int) -> None:
    connection = await Connection.open("127.0.0.1", port)
    while True:
        path = f"/api/tasks/poll/batch/shared?count=5&timeout={wait_ms}&workerid=good{wait_ms}"
        for task in json.loads(await expect(connection, "GET", path)):
            report = {key: task[key] for key in ("workflowInstanceId", "taskId")}
            body = json.dumps(report | {"status": "COMPLETED"}).encode()
            await expect(connection, "POST", "/api/tasks", body)
