"""How fast a server answers one client while others misbehave."""

import asyncio
import json
import statistics
from typing import Any

from bench.load.client import Connection, expect
from tests.engine.definitions import chain, task_def

ROUNDS = 100
TIMES = 3  # of which the best counts: what others do on the machine comes and goes
FLOOR_S = 0.05  # below this a machine that others share measures itself


async def register(port: int, *more: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
    """Register the one-step workflow that is measured, and what else a test runs."""
    connection = await Connection.open("127.0.0.1", port)
    defs = [task_def("paced", responseTimeoutSeconds=60), *tasks]
    await expect(connection, "POST", "/api/metadata/taskdefs", json.dumps(defs).encode())
    body = json.dumps([chain("paced", 1, "paced"), *more]).encode()
    await expect(connection, "PUT", "/api/metadata/workflow", body)
    connection.close()


async def p99(port: int) -> float:
    """Run one-step workflows one after the other; return the 99th percentile in seconds."""
    connection = await Connection.open("127.0.0.1", port)
    found = [await _p99(connection) for _ in range(TIMES)]
    connection.close()
    return min(found)


async def p99_beside(port: int, *work: "asyncio.Task[None]") -> float:
    """Return the median of the percentiles until the work of others is done; TIMES at least."""
    connection = await Connection.open("127.0.0.1", port)
    found: list[float] = []
    try:
        while len(found) < TIMES or not all(task.done() for task in work):
            found.append(await _p99(connection))
    finally:
        for task in work:
            task.cancel()
        connection.close()
    await asyncio.gather(*work)
    return statistics.median(found)


async def _p99(connection: Connection) -> float:
    took = []
    for _ in range(ROUNDS):
        begun = asyncio.get_running_loop().time()
        run = (await expect(connection, "POST", "/api/workflow/paced", b"{}")).decode()
        await complete(connection, run, "paced")
        took.append(asyncio.get_running_loop().time() - begun)
    return sorted(took)[ROUNDS * 99 // 100]


async def complete(connection: Connection, run: str, task_type: str) -> None:
    """Poll the task of a run, which is the only one of its type, and report it done."""
    path = f"/api/tasks/poll/batch/{task_type}?count=1&timeout=2000"
    [task] = json.loads(await expect(connection, "GET", path))
    assert task["workflowInstanceId"] == run
    report = {"workflowInstanceId": run, "taskId": task["taskId"], "status": "COMPLETED"}
    await expect(connection, "POST", "/api/tasks", json.dumps(report).encode())


def is_bearable(before_s: float, meanwhile_s: float) -> bool:
    """Tell whether the 99th percentile has at most doubled."""
    return meanwhile_s <= max(2 * before_s, FLOOR_S)
