"""What the wire costs: our own CPU of a request, above the HTTP server and beside the engine.

Drives the real ASGI application in memory with an engine that answers at once, so that what is
measured is the door, the dispatch, decoding and encoding. ``--profile CASE`` shows where it goes.

    python bench/micro/wire.py [--seconds 1] [--profile update]

Prints JSON: microseconds of CPU a request, best of five rounds.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop

from batuta.api import create_app
from batuta.core.definition.normalize import read_workflow_def
from batuta.core.graph import Graph, Snapshot
from batuta.model.execution import Lease, Task, TaskStatus, Workflow
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.view import Polled, RunView, TaskView, Updated

ROUNDS = 5
NOW_MS = 1_790_000_000_000
WORKFLOW_ID = "01a1f824-7441-7001-8000-000000000000"
TASK_ID = "01a1f824-7441-7001-8000-000000000001"
BODY = Payload.of({"order": 1234567, "customer": "somebody", "lines": [{"sku": "a", "n": 2}] * 3})
HEADERS = [
    (b"host", b"127.0.0.1:8080"),
    (b"accept", b"application/json"),
    (b"content-type", b"application/json"),
    (b"content-length", b"300"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"user-agent", b"python-httpx/0.28"),
    (b"connection", b"keep-alive"),
]


class Settings(msgspec.Struct, frozen=True):
    """What the wire is told."""

    allowed_hosts: tuple[str, ...] = ()
    body_bytes_max: int = 8_000_000
    strict: bool = False


def graph() -> Graph:
    tasks = [{"name": f"t{n}", "taskReferenceName": f"t{n}", "type": "SIMPLE"} for n in range(10)]
    return Graph(Snapshot(workflow=read_workflow_def({"name": "w", "tasks": tasks})), "digest")


class FakeEngine:
    """Answers at once what a real one would after its commit."""

    is_draining = False
    uploads = None

    def __init__(self) -> None:
        self._graph = graph()
        self._workflow = Workflow(workflow_id=WORKFLOW_ID, name="w", definition="digest")
        task = Task(seq=1, task_id=TASK_ID, reference_name="t1", task_type="t1", queue="t1")
        lease = Lease(
            task_id=TASK_ID,
            workflow_id=WORKFLOW_ID,
            queue="t1",
            worker_id="me",
            poll_count=1,
            started_at_ms=NOW_MS,
            polled_at_ms=NOW_MS,
            expires_at_ms=NOW_MS,
            lease_ms=3_600_000,
            timeout_ms=0,
        )
        self.polled = Polled(
            workflow=self._workflow,
            task=task,
            input=BODY,
            output=EMPTY,
            lease=lease,
            graph=self._graph,
        )
        done = msgspec.structs.replace(task, status=TaskStatus.COMPLETED)
        self.run = RunView(
            workflow=self._workflow,
            input=BODY,
            output=BODY,
            variables=EMPTY,
            tasks=[TaskView(task=done, input=BODY, output=BODY)] * 10,
            graph=self._graph,
        )

    async def poll(self, task_type: str, *, count: int, **_: Any) -> list[Polled]:
        """Give tasks, unless the type is "none"."""
        return [self.polled] * count if task_type != "none" else []

    async def update(self, command: Any) -> Updated:
        """Say that the report is on disk."""
        return Updated(workflow_id=command.workflow_id, task_id=command.task_id)

    async def update_and_poll(self, _command: Any) -> Polled:
        """Give the next task."""
        return self.polled

    async def start(self, _wish: Any) -> str:
        """Give an id."""
        return WORKFLOW_ID

    async def get(self, _workflow_id: str, *, with_tasks: bool) -> RunView:
        """Give a run of ten tasks."""
        return self.run if with_tasks else msgspec.structs.replace(self.run, tasks=[])


def result() -> bytes:
    report = {"workflowInstanceId": WORKFLOW_ID, "taskId": TASK_ID, "status": "COMPLETED"}
    more = {"workerId": "host-1", "logs": [], "callbackAfterSeconds": 0, "extendLease": False}
    return json.dumps({**report, **more, "outputData": BODY.value}).encode()


CASES: dict[str, tuple[str, bytes]] = {
    "update": ("POST /api/tasks", result()),
    "update-v2": ("POST /api/tasks/update-v2", result()),
    "poll": ("GET /api/tasks/poll/t1?workerid=me", b""),
    "batch poll, 1": ("GET /api/tasks/poll/batch/t1?workerid=me&count=1&timeout=100", b""),
    "batch poll, 32": ("GET /api/tasks/poll/batch/t1?workerid=me&count=32&timeout=100", b""),
    "empty poll": ("GET /api/tasks/poll/batch/none?workerid=me&count=1&timeout=0", b""),
    "start": ("POST /api/workflow", b'{"name":"w","version":1,"input":' + (BODY.raw or b"") + b"}"),
    "status": (f"GET /api/workflow/{WORKFLOW_ID}/status", b""),
    "run of 10": (f"GET /api/workflow/{WORKFLOW_ID}?includeTasks=true", b""),
}


def request(case: str) -> Callable[[], Awaitable[None]]:
    """Give what sends one request of a case to the application."""
    app = create_app(FakeEngine(), Settings())  # type: ignore[arg-type]
    line, body = CASES[case]
    method, target = line.split(" ")
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": HEADERS,
    }
    forever: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def once() -> None:
        is_read = False

        async def receive() -> dict[str, Any]:
            nonlocal is_read
            if is_read:
                await asyncio.shield(forever)
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await app(scope, receive, send)

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) < 300

    return once


async def measure(case: str, seconds: float) -> float:
    """Return the microseconds of CPU that a request takes."""
    once = request(case)
    await once()
    best = float("inf")
    for _ in range(ROUNDS):
        count, begun = 0, time.process_time()
        until = time.perf_counter() + seconds / ROUNDS
        while time.perf_counter() < until:
            for _ in range(100):
                await once()
            count += 100
        best = min(best, (time.process_time() - begun) / count)
    return round(best * 1e6, 1)


async def profile(case: str) -> None:
    once = request(case)
    with cProfile.Profile() as found:
        for _ in range(20_000):
            await once()
    pstats.Stats(found).sort_stats("tottime").print_stats(25)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--profile", choices=CASES)
    options = parser.parse_args()
    if options.profile:
        await profile(options.profile)
        return
    print(json.dumps({case: await measure(case, options.seconds) for case in CASES}, indent=2))


if __name__ == "__main__":
    uvloop.run(main())
