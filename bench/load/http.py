"""SIMPLE tasks over HTTP: batch poll and one update each, by a client process of its own.

The server is ``batuta serve`` on a new SQLite file; the client runs on the other core.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.load.client import Connection, expect
from bench.load.server import Server

CONNECTIONS = 48  # workers, each with one connection
BATCH = 20  # tasks a worker asks for at once
STARTERS = 8  # connections that start runs, in the load's own process
STEPS = 10

_DEFINITION = {
    "name": "http_chain",
    "version": 1,
    "tasks": [
        {
            "name": "http_step",
            "taskReferenceName": f"s{number}",
            "type": "SIMPLE",
            "inputParameters": {"x": "${workflow.input.x}"},
        }
        for number in range(STEPS)
    ],
}


class _Task(msgspec.Struct, rename="camel"):
    workflow_instance_id: str
    task_id: str


_TASKS = msgspec.json.Decoder(list[_Task])


async def _load(port: int, runs: int) -> dict[str, Any]:
    """Start ``runs`` chains and work them off; return tasks a second and the client's CPU."""
    first = await Connection.open("127.0.0.1", port)
    await expect(first, "PUT", "/api/metadata/workflow", json.dumps([_DEFINITION]).encode())
    total, done = runs * STEPS, 0
    finished = asyncio.Event()
    starts = iter(range(runs))

    async def starter() -> None:
        connection = await Connection.open("127.0.0.1", port)
        for _ in starts:
            await expect(connection, "POST", "/api/workflow/http_chain", b'{"x": 1}')
        connection.close()

    async def worker(number: int) -> None:
        nonlocal done
        connection = await Connection.open("127.0.0.1", port)
        path = f"/api/tasks/poll/batch/http_step?workerid=w{number}&count={BATCH}&timeout=100"
        while not finished.is_set():
            tasks = _TASKS.decode(await expect(connection, "GET", path))
            for found in tasks:
                report = (
                    b'{"workflowInstanceId":"%b","taskId":"%b","status":"COMPLETED",'
                    b'"outputData":{"v":1}}'
                ) % (found.workflow_instance_id.encode(), found.task_id.encode())
                await expect(connection, "POST", "/api/tasks", report)
                done += 1
            if done >= total:
                finished.set()
        connection.close()

    started, cpu = time.perf_counter(), time.process_time()
    workers = [asyncio.create_task(worker(number)) for number in range(CONNECTIONS)]
    await asyncio.gather(*(starter() for _ in range(STARTERS)))
    await asyncio.gather(*workers)
    elapsed = time.perf_counter() - started
    first.close()
    return {
        "tasks_per_s": round(total / elapsed),
        "client_cpu_us_per_task": round((time.process_time() - cpu) / total * 1e6),
    }


async def _idle_chain_ms(port: int, count: int) -> float:
    """Run chains one at a time, one worker by update-v2; return the median ms."""
    connection = await Connection.open("127.0.0.1", port)
    times = []
    poll = "/api/tasks/poll/batch/http_step?workerid=idle&count=1&timeout=1000"
    for _ in range(count):
        started = time.perf_counter()
        await expect(connection, "POST", "/api/workflow/http_chain", b'{"x": 1}')
        answer = await expect(connection, "GET", poll)
        found = _TASKS.decode(answer)[0]
        for step in range(STEPS):
            report = {
                "workflowInstanceId": found.workflow_instance_id,
                "taskId": found.task_id,
                "status": "COMPLETED",
                "outputData": {"v": 1},
                "workerId": "idle",
            }
            body = json.dumps(report).encode()
            answer = await expect(connection, "POST", "/api/tasks/update-v2", body)
            if step + 1 < STEPS:
                found = msgspec.json.decode(answer, type=_Task)
        times.append((time.perf_counter() - started) * 1_000)
    connection.close()
    return round(statistics.median(times), 2)


def measure(folder: Path, *, runs: int, idle: int) -> dict[str, Any]:
    """Return one pass of the HTTP figures."""
    with Server(folder / "http.db") as server:
        command = [sys.executable, "-m", "bench.load.http", str(server.port), str(runs), str(idle)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the load failed: {done.stderr}")
        figures: dict[str, Any] = json.loads(done.stdout)
        cpu_s = server.cpu_s()
    figures["server_cpu_us_per_task"] = round(cpu_s / (runs * STEPS + idle * STEPS) * 1e6)
    return {f"http_{name}": value for name, value in figures.items()}


async def _main(port: int, runs: int, idle: int) -> dict[str, Any]:
    await _load(port, max(runs // 20, 1))  # warm-up
    figures = await _load(port, runs)
    figures["idle_chain_p50_ms"] = await _idle_chain_ms(port, idle)
    return figures


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    import uvloop

    print(json.dumps(uvloop.run(_main(*(int(word) for word in sys.argv[1:4])))))
