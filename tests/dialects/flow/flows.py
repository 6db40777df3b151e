"""Flows made short, node types of our own that do them, and what a test asks of a run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from batuta.dialects.base import worker_of
from batuta.model.execution import TaskStatus
from batuta.workers.function import TaskContext
from batuta.workers.local import LocalTransport
from batuta.workers.loop import Workers
from batuta.workers.outcome import Outcome
from tests.dialects.conftest import LIMIT_S, Served

Do = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class NodeError(Exception):
    """A node's failure; the text is its reason."""


async def echo(given: dict[str, Any]) -> dict[str, Any]:
    """Give the config back, as it came."""
    return {**given["config"], "nodeType": given["nodeType"]}


async def boom(given: dict[str, Any]) -> dict[str, Any]:
    """Fail with the text of the config."""
    raise NodeError(str(given["config"].get("text", "boom")))


@asynccontextmanager
async def doing(server: Served, **types: Do) -> AsyncIterator[None]:
    """Have node types done while the context is open; a server accepts them then."""

    def worker(name: str, do: Do) -> Any:
        async def run(task: TaskContext) -> Outcome:
            try:
                output = await do(task.input)
            except NodeError as error:
                return Outcome(status=TaskStatus.FAILED, reason=str(error))
            return Outcome(status=TaskStatus.COMPLETED, output=msgspec.json.encode(output))

        return worker_of(name, run, concurrency=8)

    pool = Workers(LocalTransport(server.engine), [worker(*one) for one in types.items()])
    pool.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                if all(server.engine.poll_data(name) for name in types):
                    break
                await asyncio.sleep(0)
        yield
    finally:
        await pool.drain(1_000)


def node(node_id: str, kind: str = "echo", *, more: Any = None, **config: Any) -> dict[str, Any]:
    """Return a node; ``more`` are fields beside its config."""
    return {"id": node_id, "type": kind, "config": config, **(more or {})}


def ref(node_id: Any, key: Any) -> dict[str, Any]:
    """Return a reference to an output of another node."""
    return {"_type": "reference", "nodeId": node_id, "outputKey": key}


async def started(server: Served, *nodes: dict[str, Any], **more: Any) -> str:
    """Post nodes; return the run's id."""
    answer = await server.ask("POST /workflow/run", {"nodes": list(nodes), **more})
    assert answer.status == 200, answer.body
    return str(answer.json["workflowId"])


async def status(server: Served, workflow_id: str) -> Any:
    """Return a run's status."""
    answer = await server.ask(f"GET /workflow/{workflow_id}/status")
    assert answer.status == 200, answer.body
    return answer.json


async def ended(server: Served, *nodes: dict[str, Any], **more: Any) -> Any:
    """Run nodes to their end and return the status."""
    workflow_id = await started(server, *nodes, **more)
    await server.ended(workflow_id)
    return await status(server, workflow_id)


async def records(server: Served) -> Any:
    """Return the history."""
    answer = await server.ask("GET /workflow/history")
    assert answer.status == 200, answer.body
    return answer.json


def outputs(found: Any) -> list[Any]:
    """Return the outputs of a status, None for a node that failed."""
    return [one.get("data", {}).get("output") for one in found["results"]]
