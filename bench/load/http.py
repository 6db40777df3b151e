"""The same runs over HTTP: batch poll and one update each, by a client process of its own.

The server is ``batuta serve`` on a new SQLite file; the client runs on the other core. "Alone"
is one run after the other, from its start until it is shown as ended. The CPU is the
server's, and the client's beside it: it should not be what limits.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench.load import shapes
from bench.load.client import Connection, expect
from bench.load.inprocess import named, percentiles
from bench.load.server import Server
from bench.load.shapes import Shape

CONNECTIONS = 48  # workers, each with one connection
BATCH = 20  # tasks a worker asks for at once
STARTERS = 8  # connections that start runs
POLL_WAIT_MS = 1_000

# (shape, how many runs alone at scale 1)
ALONE = (
    (shapes.fan_out(100), 20),
    (shapes.fan_out(1_000), 5),
    (shapes.fan_out(5_000), 2),
    (shapes.TREE, 10),
    (shapes.loop(1_000), 2),
)


class Found(msgspec.Struct, rename="camel"):
    """A polled task, as far as a report needs it."""

    workflow_instance_id: str
    task_id: str


TASKS = msgspec.json.Decoder(list[Found])


def report(found: Found) -> bytes:
    """Return the body that says that a task is done."""
    return (
        b'{"workflowInstanceId":"%b","taskId":"%b","status":"COMPLETED","workerId":"w",'
        b'"outputData":{"v":1}}'
    ) % (found.workflow_instance_id.encode(), found.task_id.encode())


async def register(port: int) -> None:
    """Register every shape at a server."""
    connection = await Connection.open("127.0.0.1", port)
    body = json.dumps(shapes.definitions()).encode()
    await expect(connection, "PUT", "/api/metadata/workflow", body)
    connection.close()


class Load:
    """Workers on connections of their own, from ``open`` to ``close``; they count reports."""

    def __init__(self, port: int, server_pid: int) -> None:
        self._port = port
        self._server = psutil.Process(server_pid)
        self._workers: list[asyncio.Task[None]] = []
        self._left = 0
        self._done = asyncio.Event()

    async def open(self) -> None:
        """Begin to poll."""
        self._workers = [asyncio.create_task(self._worker(n)) for n in range(CONNECTIONS)]

    async def close(self) -> None:
        """Stop the workers."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def together(self, shape: Shape, runs: int) -> dict[str, float]:
        """Start runs as fast as they are taken and work them off."""
        self._expect(runs * shape.tasks)
        left = iter(range(runs))
        started, cpu, server_s = time.perf_counter(), time.process_time(), self._server_s()

        async def starter() -> None:
            connection = await Connection.open("127.0.0.1", self._port)
            for _ in left:
                await self._start(connection, shape)
            connection.close()

        await asyncio.gather(*(starter() for _ in range(STARTERS)))
        await self._wait()
        elapsed = time.perf_counter() - started
        tasks = runs * shape.tasks
        return {
            "tasks_per_s": round(tasks / elapsed),
            "server_cpu_us_per_task": round((self._server_s() - server_s) / tasks * 1e6, 1),
            "client_cpu_us_per_task": round((time.process_time() - cpu) / tasks * 1e6, 1),
        }

    async def alone(self, shape: Shape, runs: int) -> dict[str, float]:
        """Do runs one after the other, each until it is shown as ended."""
        times, server_s = [], self._server_s()
        for _ in range(runs):
            connection = await Connection.open("127.0.0.1", self._port)
            self._expect(shape.tasks)
            started = time.perf_counter()
            workflow_id = await self._start(connection, shape)
            connection.close()
            await self._wait()
            await self._ended(workflow_id)
            times.append((time.perf_counter() - started) * 1_000)
        cpu_us = (self._server_s() - server_s) / runs / shape.tasks * 1e6
        return {**percentiles(times), "server_cpu_us_per_task": round(cpu_us, 1)}

    async def _ended(self, workflow_id: str) -> None:
        """Ask until a run has ended: a parent may hear of it after the last report."""
        connection = await Connection.open("127.0.0.1", self._port)
        path = f"/api/workflow/{workflow_id}/status"
        while b'"COMPLETED"' not in await expect(connection, "GET", path):
            pass
        connection.close()

    async def _start(self, connection: Connection, shape: Shape) -> str:
        path = f"/api/workflow/{shape.workflow}"
        return bytes(await expect(connection, "POST", path, shape.input)).decode()

    async def _worker(self, number: int) -> None:
        connection = await Connection.open("127.0.0.1", self._port)
        path = f"/api/tasks/poll/batch/{shapes.TASK_TYPE}?workerid=w{number}&count={BATCH}"
        path += f"&timeout={POLL_WAIT_MS}"
        while True:
            for found in TASKS.decode(await expect(connection, "GET", path)):
                await expect(connection, "POST", "/api/tasks", report(found))
                self._left -= 1
                if self._left <= 0:
                    self._done.set()

    def _expect(self, tasks: int) -> None:
        self._left = tasks
        self._done.clear()

    async def _wait(self) -> None:
        """Return when all expected reports are answered; a worker's trouble ends the load."""
        done = asyncio.create_task(self._done.wait())
        await asyncio.wait([done, *self._workers], return_when=asyncio.FIRST_COMPLETED)
        for worker in self._workers:
            if worker.done():
                worker.result()
        await done

    def _server_s(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)


async def idle_chain(port: int, count: int) -> dict[str, float]:
    """Run chains one at a time, one worker by update-v2; return p50 and p99 in ms."""
    connection = await Connection.open("127.0.0.1", port)
    times = []
    poll = f"/api/tasks/poll/batch/{shapes.IDLE_TASK_TYPE}?workerid=w&count=1&timeout=1000"
    for _ in range(count):
        started = time.perf_counter()
        await expect(connection, "POST", "/api/workflow/idle_chain", shapes.IDLE_CHAIN.input)
        found = TASKS.decode(await expect(connection, "GET", poll))[0]
        for step in range(shapes.IDLE_CHAIN.tasks):
            answer = await expect(connection, "POST", "/api/tasks/update-v2", report(found))
            if step + 1 < shapes.IDLE_CHAIN.tasks:
                found = msgspec.json.decode(answer, type=Found)
        times.append((time.perf_counter() - started) * 1_000)
    connection.close()
    return percentiles(times)


def measure(folder: Path, scale: float) -> dict[str, float]:
    """Return one pass of the HTTP figures."""
    with Server(folder / "http.db") as server:
        words = [str(server.port), str(server.pid), str(scale)]
        command = [sys.executable, "-m", "bench.load.http", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the load failed: {done.stderr}")
        figures: dict[str, float] = json.loads(done.stdout)
    return named("http", figures)


async def _main(port: int, server_pid: int, scale: float) -> dict[str, Any]:
    await register(port)
    figures: dict[str, float] = {}
    load = Load(port, server_pid)
    figures |= named("idle_chain", await idle_chain(port, max(int(100 * scale), 5)))
    await load.open()
    await load.together(shapes.TEN_STEPS, max(int(75 * scale), 1))  # warm-up
    for shape, runs in ((shapes.ONE_STEP, 8_000), (shapes.TEN_STEPS, 1_500)):
        figures |= named(shape.title, await load.together(shape, max(int(runs * scale), 1)))
    for shape, runs in ALONE:
        figures |= named(shape.title, await load.alone(shape, max(round(runs * scale), 1)))
    await load.close()
    return figures


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    import uvloop

    print(json.dumps(uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
