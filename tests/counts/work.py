"""What some work costs the store, and workers that do it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from batuta.runtime.engine import Engine
from tests.api.client import Client
from tests.engine.node import WAIT_MS, Node, report_of, turns


class Cost:
    """The store's own counts, from here to there."""

    def __init__(self) -> None:
        self.commits = 0
        self.statements = 0
        self.rows_written = 0
        self.refusals = 0


@asynccontextmanager
async def cost_of(node: Node) -> AsyncIterator[Cost]:
    """Give what is filled in at the end of the block."""
    cost = Cost()
    before = await node.store.statistics()
    yield cost
    after = await node.store.statistics()
    for name in vars(cost):
        setattr(cost, name, after[name] - before[name])


@asynccontextmanager
async def waiting_worker(node: Node, task_type: str) -> AsyncIterator[None]:
    """Have a worker with two slots: while one reports, the other waits in the queue."""

    async def slot() -> None:
        while True:
            for polled in await node.engine.poll(task_type, worker_id="w", wait_ms=WAIT_MS):
                await node.engine.update(report_of(polled, {"n": polled.task.seq}))

    await node.polls_nothing(task_type)  # now it is known that the table has none
    slots = [asyncio.create_task(slot()) for _ in range(2)]
    await turns()
    try:
        yield
    finally:
        for one in slots:
            one.cancel()
        await asyncio.gather(*slots, return_exceptions=True)


class WireSettings(msgspec.Struct, frozen=True):
    """What the wire is told."""

    allowed_hosts: tuple[str, ...] = ()
    body_bytes_max: int = 1_000_000
    strict: bool = False


def wire(engine: Engine) -> Client:
    """Return a client of the real application over an engine."""
    from batuta.api import create_app

    return Client(create_app(engine, WireSettings()))


async def over_http(client: Client, task_type: str, count: int) -> None:
    """Do ``count`` tasks as an SDK's worker does: a poll, then a report."""
    for _ in range(count):
        answer = await client.ask(f"GET /api/tasks/poll/{task_type}?workerid=w")
        assert answer.status == 200
        task = json.loads(answer.body)
        body: dict[str, Any] = {
            "workflowInstanceId": task["workflowInstanceId"],
            "taskId": task["taskId"],
            "status": "COMPLETED",
            "outputData": {"n": 1},
            "workerId": "w",
        }
        assert (await client.ask("POST /api/tasks", body)).status == 200
