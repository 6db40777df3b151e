"""From a workflow of nodes to one of the engine: a DAG with a task for each node. Source: S1.5."""

import json
import re
from typing import Any, TypeGuard

from batuta.core.dag.ways import DELAY_MS_MAX
from batuta.core.definition.normalize import read_workflow_def
from batuta.core.definition.validate import validate_workflow_def
from batuta.core.expression.template import escaped
from batuta.dialects.dag.definition import Workflow
from batuta.model.definition import WorkflowDef
from batuta.model.error import Fault, InvalidError

TASKS = "workflow-tasks"  # the queue of all nodes, by its original name
ATTEMPTS = 3
RETRY_DELAY_SECONDS = 2  # before the second attempt; doubled before the third
LEASE_SECONDS = 30  # a worker that is silent for longer is taken for dead
GRAPH = "graph"

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*")  # no `__`, which marks passes
_UNITS_MS = {"seconds": 1_000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}
_DELAY_MS = 5_000  # of a delay node that says nothing
_CHOOSERS = {"decision", "ifElse"}
_CHARACTERS_MAX = 200  # of an id that becomes a name; the engine's limit is 255


def lowered(workflow: Workflow) -> WorkflowDef:
    """Return the engine's workflow that runs this one.

    Raises:
        InvalidError: The nodes lead back to each other, or a delay is too long.
    """
    nodes = [node["base"] for node in workflow.nodes]
    refs = _names([node["id"] for node in nodes])
    into: dict[str, dict[str, list[str | None]]] = {node["id"]: {} for node in nodes}
    for edge in workflow.edges:
        handles = into[edge["targetId"]].setdefault(edge["sourceId"], [])
        handles.append(edge.get("sourceHandleId"))
    kinds = {node["id"]: node for node in nodes}
    edges = [
        _edge(kinds[source], refs[source], refs[target], handles)
        for target, sources in into.items()
        for source, handles in sources.items()
    ]
    graph = {
        "name": GRAPH,
        "taskReferenceName": GRAPH,
        "type": "DAG",
        "dagTasks": [_task(node, refs, into[node["id"]], kinds) for node in nodes],
        "dagEdges": edges,
    }
    document = {"name": workflow.name, "version": 1, "schemaVersion": 2, "tasks": [graph]}
    definition = read_workflow_def(document)
    faults = validate_workflow_def(definition, strict=False, is_registered=False)
    if faults:
        told = [Fault("edges" if "Edges" in one.path else "nodes", one.message) for one in faults]
        raise InvalidError("; ".join(one.message for one in told), told)
    return definition


def delay_ms(config: dict[str, Any]) -> int:
    """Return how long a delay node holds back what follows it."""
    value, unit_ms = config.get("delayValue"), _UNITS_MS.get(str(config.get("delayType")), 1_000)
    if not _is_number(value):
        value, unit_ms = config.get("delayMs"), 1
    if not _is_number(value):
        value, unit_ms = _DELAY_MS, 1
    # One step above the limit is refused as well as any other.
    return round(min(max(value, 0), DELAY_MS_MAX + 1) * unit_ms)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(ids: list[str]) -> dict[str, str]:
    """Return a reference name for each id: the id itself where it may be one."""
    taken = {GRAPH, "workflow", *ids}
    names = {}
    for place, node_id in enumerate(ids):
        name = node_id
        is_plain = _PLAIN.fullmatch(node_id) and len(node_id) <= _CHARACTERS_MAX
        if not is_plain or node_id in {GRAPH, "workflow"}:
            name = f"node{place}"
            while name in taken:
                name += "x"
            taken.add(name)
        names[node_id] = name
    return names


def _edge(
    source: dict[str, Any], ref: str, target: str, handles: list[str | None]
) -> dict[str, Any]:
    """Return an edge of the engine for all edges between two nodes; any of them is enough."""
    edge: dict[str, Any] = {"from": ref, "to": target}
    wanted = _wanted(source, handles)
    if wanted is not None:
        edge["when"] = " || ".join(f"$.handles.includes({json.dumps(one)})" for one in wanted)
    if source["type"] == "delay":
        edge["delayMs"] = delay_ms(source.get("config") or {})
    return edge


def _wanted(source: dict[str, Any], handles: list[str | None]) -> list[str] | None:
    """Return the handles of which one has to fire; None when the edge is always taken."""
    if source["type"] not in _CHOOSERS or None in handles:
        return None
    return list(dict.fromkeys(handle for handle in handles if handle is not None))


def _task(
    node: dict[str, Any],
    refs: dict[str, str],
    sources: dict[str, list[str | None]],
    kinds: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    given: dict[str, Any] = {"type": node["type"], "config": escaped(node.get("config") or {})}
    if sources:
        given["before"] = [
            {
                "payload": f"${{{refs[source]}.output.payload}}",
                "handles": f"${{{refs[source]}.output.handles}}",
                "wanted": escaped(_wanted(kinds[source], handles)),
            }
            for source, handles in sources.items()
        ]
    else:
        given["before"] = [{"payload": "${workflow.input.input}"}]
    return {
        "name": TASKS,
        "taskReferenceName": refs[node["id"]],
        "type": "SIMPLE",
        "retryCount": ATTEMPTS - 1,
        "retryLogic": "EXPONENTIAL_BACKOFF",
        "retryDelaySeconds": RETRY_DELAY_SECONDS,
        "responseTimeoutSeconds": LEASE_SECONDS,
        "inputParameters": given,
        "metadata": {
            "nodeId": node["id"],
            "nodeType": node["type"],
            "nodeName": node.get("name") or node["id"],
        },
    }
