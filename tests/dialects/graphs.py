"""Workflows of nodes and edges: made short, kept, run and looked at."""

from typing import Any

from tests.dialects.conftest import Served

GREETING = {"template": "Hello {{ who.name }}, {{ tags[1] }}!"}
# A rule with an operation that JSON Logic does not have: evaluating it fails the node.
BROKEN = {"condition": {"targetField": "n", "validationLogic": {"no_such_operation": [1]}}}


def node(node_id: str, kind: str = "inputText", **config: Any) -> dict[str, Any]:
    """Return a node."""
    base = {"id": node_id, "type": kind, "name": node_id.upper(), "config": config}
    return {"id": node_id, "base": base, "position": {"x": 0, "y": 0}}


def graph(nodes: list[dict[str, Any]], *edges: str) -> dict[str, Any]:
    """Return a workflow; an edge is ``from>to`` or ``from:handle>to``."""
    made = []
    for edge in edges:
        source, _, target = edge.partition(">")
        source, _, handle = source.partition(":")
        found = {"id": edge, "sourceId": source, "targetId": target}
        made.append({**found, "sourceHandleId": handle} if handle else found)
    return {"name": "a graph", "workflow": {"nodes": nodes, "edges": made}}


def above(limit: int, **more: Any) -> dict[str, Any]:
    """Return the condition that the payload's n is above a limit."""
    return {"targetField": "n", "validationLogic": {">": [{"var": "value"}, limit]}, **more}


async def kept(server: Served, document: Any) -> str:
    """Keep a workflow; return its id."""
    made = await server.ask("POST /workflows", document)
    assert made.status == 201, made.body
    return str(made.json["id"])


async def started(server: Served, document: Any, given: Any = None) -> str:
    """Keep a workflow and start it; return the run's id."""
    workflow_id = await kept(server, document)
    answer = await server.ask(
        f"POST /workflows/{workflow_id}/execute-async", {"input": given or {}}
    )
    assert answer.status == 201, answer.body
    return str(answer.json["runId"])


async def status(server: Served, run_id: str) -> Any:
    """Return a run's status."""
    answer = await server.ask(f"GET /workflows/runs/{run_id}/status")
    assert answer.status == 200, answer.body
    return answer.json


async def ended(server: Served, document: Any, given: Any = None) -> Any:
    """Run a workflow to its end and return its status."""
    run_id = await started(server, document, given)
    await server.ended(run_id)
    return await status(server, run_id)


def words(shown: Any) -> dict[str, str]:
    """Return the word of each node."""
    return {task["nodeId"]: task["status"] for task in shown["tasks"]}


def times_ms(shown: Any, node_id: str) -> tuple[int, int]:
    """Return when a node started and ended, in ms since midnight."""
    task = next(one for one in shown["tasks"] if one["nodeId"] == node_id)
    found = []
    for name in ("startedAt", "completedAt"):
        hours, minutes, seconds = task[name].rstrip("Z").partition("T")[2].split(":")
        found.append(int(hours) * 3_600_000 + int(minutes) * 60_000 + int(float(seconds) * 1_000))
    return found[0], found[1]
