"""Sixty-four clients that start runs, poll and report, and write down what they were told.

A client whose server dies keeps its report and sends it again, as the SDKs do; it never learns
what became of a start or a poll. Everything random comes from one seed.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench.load.client import Connection
from tests.engine.definitions import chain, child, fork, loop, simple, task_def, workflow
from tests.faults.ledger import Ledger
from tests.faults.serving import Server

LANES = 64
LEASE_S = 5  # of a task whose poll's answer the server could not give any more
POLL_MS = 1_000
POLL_COUNT = 3
AGAIN = 0.05  # how often an answered report is sent once more, with another result
TASK_TYPES = ("step", "flaky", "late")
NAMES = ("chain", "fork", "loop", "parent", "retries")

TASK_DEFS = [
    task_def("step", retryCount=100, responseTimeoutSeconds=LEASE_S),
    task_def("flaky", retryCount=100, responseTimeoutSeconds=LEASE_S),
    task_def("late", retryCount=100, responseTimeoutSeconds=LEASE_S, retryDelaySeconds=1),
]
WORKFLOW_DEFS = [
    chain("chain", 5),
    fork("fork", 4),
    workflow("loop", loop("again", 3, simple("inner"), simple("tail"))),
    workflow("child", simple("only"), simple("flaky", "flaky")),
    workflow("parent", simple("before"), child("c", "child"), simple("after")),
    workflow("retries", simple("flaky", "flaky"), simple("late", "late"), simple("last")),
]


class Load:
    """The clients. ``is_up`` is the tester's word that a server answers."""

    def __init__(self, port: int, ledger: Ledger, seed: int) -> None:
        self._port = port
        self._ledger = ledger
        self.random = random.Random(seed)
        self.is_up = asyncio.Event()
        self.starts_left = 0
        self.holds_reports = False  # until let go, so that all clients report at once
        self.held = 0  # clients that wait to be let go
        self._let_go = asyncio.Event()
        self.in_flight: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()  # the server died over them
        self.wrong: list[str] = []  # answers that no client should get
        self.on_answer: Callable[[str], None] = lambda _kind: None
        self.on_send: Callable[[str], None] = lambda _kind: None
        self._effects = 0
        self._lanes: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Let all clients go."""
        self._lanes = [asyncio.create_task(self._lane(number)) for number in range(LANES)]

    async def end(self) -> None:
        """Stop all clients; raise what one of them stumbled over."""
        for lane in self._lanes:
            lane.cancel()
        ends = await asyncio.gather(*self._lanes, return_exceptions=True)
        faults = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
        if faults:
            raise ExceptionGroup("clients failed", [f for f in faults if isinstance(f, Exception)])

    def let_go(self) -> None:
        """Have all held reports sent in one turn of the loop."""
        self.holds_reports = False
        self._let_go.set()
        self._let_go = asyncio.Event()

    async def register(self) -> None:
        """Register the definitions."""
        connection = await Connection.open("127.0.0.1", self._port)
        for method, path, body in (
            ("POST", "/api/metadata/taskdefs", TASK_DEFS),
            ("PUT", "/api/metadata/workflow", WORKFLOW_DEFS),
        ):
            status, answer = await connection.request(method, path, json.dumps(body).encode())
            assert status == 200, answer
        connection.close()

    async def _lane(self, number: int) -> None:
        pending: list[dict[str, Any]] = []  # reports that no answer has come to
        while True:
            await self.is_up.wait()
            try:
                connection = await Connection.open("127.0.0.1", self._port)
                while self.is_up.is_set():
                    await self._act(connection, number, pending)
                connection.close()
            except OSError:
                await asyncio.sleep(0.01)

    async def _act(self, connection: Connection, number: int, pending: list[Any]) -> None:
        if pending:
            await self._report(connection, pending)
        elif self.starts_left > 0:
            self.starts_left -= 1
            await self._start(connection)
        else:
            await self._poll(connection, number, pending)

    async def _start(self, connection: Connection) -> None:
        name = self.random.choice(NAMES)
        body = json.dumps({"x": self.acknowledged["start"]}).encode()
        status, answer = await self._send(connection, "start", f"/api/workflow/{name}", body)
        if self._is_right("start", status, answer):
            await self._ledger.note(kind="start", id=answer.decode())
            self._answered("start")

    async def _poll(self, connection: Connection, number: int, pending: list[Any]) -> None:
        task_type = self.random.choices(TASK_TYPES, (6, 2, 1))[0]
        count = 1 if self.holds_reports else POLL_COUNT
        path = f"/api/tasks/poll/batch/{task_type}?count={count}&timeout={POLL_MS}"
        path += f"&workerid=lane{number}"
        polled_at = asyncio.get_running_loop().time()
        status, answer = await self._send(connection, "poll", path, method="GET")
        if self._is_right("poll", status, answer):
            tasks = json.loads(answer)
            pending += [await self._work(task, number, polled_at) for task in tasks]

    async def _work(self, task: dict[str, Any], number: int, polled_at: float) -> dict[str, Any]:
        """Do a task: its effect is written down before anybody is told of it."""
        self._effects += 1
        is_failing = task["taskDefName"] != "step" and not task.get("retryCount")
        report = {
            "workflowInstanceId": task["workflowInstanceId"],
            "taskId": task["taskId"],
            "status": "FAILED" if is_failing else "COMPLETED",
            "outputData": {"effect": self._effects},
            "workerId": f"lane{number}",
        }
        await self._ledger.note(
            kind="effect",
            task=task["taskId"],
            effect=self._effects,
            attempt=task.get("retryCount", 0),
            worker=f"lane{number}",
        )
        return {"report": report, "polled_at": polled_at}

    async def _report(self, connection: Connection, pending: list[Any]) -> None:
        if self.holds_reports:
            self.held += 1
            await self._let_go.wait()
            self.held -= 1
        report, polled_at = pending[0]["report"], pending[0]["polled_at"]
        is_following = len(pending) == 1 and self.random.random() < 0.3
        path = "/api/tasks/update-v2" if is_following else "/api/tasks"
        body = json.dumps(report).encode()
        # The lease of what is polled with it may begin long before the answer is there.
        sent_at = asyncio.get_running_loop().time()
        status, answer = await self._send(connection, "update", path, body)
        took = asyncio.get_running_loop().time() - polled_at
        del pending[0]
        if not self._is_right("update", status, answer):
            return
        await self._ledger.note(
            kind="update",
            task=report["taskId"],
            status=report["status"],
            effect=report["outputData"]["effect"],
            is_in_time=took < LEASE_S - 1,
        )
        self._answered("update")
        if is_following and status == 200 and answer:
            number = int(report["workerId"].removeprefix("lane"))
            pending.append(await self._work(json.loads(answer), number, sent_at))
        if self.random.random() < AGAIN:
            again = report | {"status": "COMPLETED", "outputData": {"effect": -1}}
            await self._send(connection, "update", "/api/tasks", json.dumps(again).encode())

    async def _send(
        self, connection: Connection, kind: str, path: str, body: bytes = b"", method: str = "POST"
    ) -> tuple[int, bytes]:
        if not connection.is_open:
            raise ConnectionError("the server has gone")
        self.in_flight[kind] += 1
        self.on_send(kind)
        try:
            return await connection.request(method, path, body)
        except OSError:
            self.unanswered[kind] += 1
            raise
        finally:
            self.in_flight[kind] -= 1

    def _is_right(self, kind: str, status: int, answer: bytes) -> bool:
        if status not in (200, 204):
            self.wrong.append(f"{kind} was answered {status}: {answer[:200]!r}")
        return status in (200, 204)

    def _answered(self, kind: str) -> None:
        self.acknowledged[kind] += 1
        self.on_answer(kind)


async def finish(load: Load, server: Server, ledger: Ledger) -> int:
    """End clients and server, however the test went; return the server's exit code."""
    try:
        await load.end()
        server.terminate()
        return await server.wait()
    finally:
        server.end()
        ledger.close()


class PatientLoad(Load):
    """Clients that take an answer of 5xx for none: the store was not there when it was asked."""

    async def _send(
        self, connection: Connection, kind: str, path: str, body: bytes = b"", method: str = "POST"
    ) -> tuple[int, bytes]:
        status, answer = await super()._send(connection, kind, path, body, method)
        if status >= 500:
            self.unanswered[kind] += 1
            raise ConnectionError(f"{kind} was answered {status}: {answer[:200]!r}")
        return status, answer

    async def acknowledged_one(self, within_s: float) -> None:
        """Return once one more start or report has been acknowledged."""
        moment = asyncio.Event()
        self.on_answer = lambda _kind: moment.set()
        async with asyncio.timeout(within_s):
            await moment.wait()
        self.on_answer = lambda _kind: None
