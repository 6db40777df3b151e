"""A workflow of nodes and edges: reading it, and why it cannot be run. Source: S1.2."""

from typing import Any

import msgspec

from batuta.dialects.dag.logic import DEPTH_MAX, levels
from batuta.model.error import Fault, InvalidError

NODES_MAX = 1_000  # of a workflow; each is a task of a run
EDGES_MAX = 10_000
NAME_CHARACTERS_MAX = 255  # the engine's for a workflow's name
TYPES = ("inputText", "apiCall", "decision", "ifElse", "delay", "notification")

_BODY = ("name", "workflow")
_FLAT = ("id", "name", "nodes", "edges", "createdAt", "updatedAt")
_GRAPH = ("nodes", "edges", "id", "name", "createdAt", "updatedAt")
_NODE = ("id", "base", "position")
_BASE = (
    *("id", "type", "name", "inputSchema", "outputSchema", "config", "validationLogic"),
    "connections",
)
_LISTS = ("fields", "headers", "queryParams", "expectedStatusCodes", "decisions")  # of a config
_EDGE = ("id", "sourceId", "targetId", "sourceHandleId", "targetHandleId")


class Workflow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A workflow as it is kept and shown; nodes as they were given."""

    id: str
    name: str
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    created_at: int
    updated_at: int


def read_workflow(body: Any, workflow_id: str, *, now_ms: int, before: Workflow | None) -> Workflow:
    """Read a request's body; to change a workflow it may also be the workflow itself.

    Raises:
        InvalidError: With every fault, each a sentence that begins with the field.
    """
    faults: list[Fault] = []
    body = _object(body, "", faults)
    is_flat = before is not None and "workflow" not in body
    _known(body, _FLAT if is_flat else _BODY, "", faults)
    graph = body if is_flat else _object(body.get("workflow"), "workflow", faults)
    place = "" if is_flat else "workflow."
    _known(graph, _FLAT if is_flat else _GRAPH, place, faults)
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        faults.append(Fault("name", "must be a string that is not empty"))
    elif len(name) > NAME_CHARACTERS_MAX:
        faults.append(Fault("name", f"must be {NAME_CHARACTERS_MAX} characters at most"))
    nodes = _list(graph.get("nodes"), f"{place}nodes", NODES_MAX, faults)
    edges = _list(graph.get("edges"), f"{place}edges", EDGES_MAX, faults)
    if not nodes and not faults:
        faults.append(Fault(f"{place}nodes", "must have at least one node"))
    for index, node in enumerate(nodes):
        _check_node(node, f"{place}nodes.{index}", faults)
    for index, edge in enumerate(edges):
        _check_edge(edge, f"{place}edges.{index}", faults)
    if not faults:
        _check_ends(nodes, edges, place, faults)
    if faults:
        told = "; ".join(f"{fault.path} {fault.message}" for fault in faults)
        raise InvalidError(told, faults)
    return Workflow(
        id=workflow_id,
        name=str(name),
        nodes=nodes,
        edges=[{**edge, "id": f"{edge['sourceId']}->{edge['targetId']}"} for edge in edges],
        created_at=before.created_at if before is not None else now_ms,
        updated_at=now_ms,
    )


def _check_node(node: Any, place: str, faults: list[Fault]) -> None:
    node = _object(node, place, faults)
    _known(node, _NODE, f"{place}.", faults)
    base = _object(node.get("base"), f"{place}.base", faults)
    _known(base, _BASE, f"{place}.base.", faults)
    faults.extend(
        Fault(f"{place}.base.{name}", "must be a string that is not empty")
        for name in ("id", "type")
        if not isinstance(base.get(name), str) or not base[name].strip()
    )
    if not isinstance(base.get("name", ""), str):
        faults.append(Fault(f"{place}.base.name", "must be a string"))
    kind = base.get("type")
    if isinstance(kind, str) and kind not in TYPES:
        faults.append(Fault(f"{place}.base.type", f"{kind!r} is none of {', '.join(TYPES)}"))
    config = base.get("config", {})
    if not isinstance(config, dict):
        faults.append(Fault(f"{place}.base.config", "must be an object"))
        return
    faults.extend(
        Fault(f"{place}.base.config.{name}", "must be an array")
        for name in _LISTS
        if not isinstance(config.get(name), list | None)
    )
    _check_rules(config, f"{place}.base.config", faults)


def _check_rules(value: Any, place: str, faults: list[Fault]) -> None:
    """Find rules in a config that nest deeper than they can be evaluated."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_rules(item, f"{place}.{index}", faults)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name != "validationLogic":
                _check_rules(item, f"{place}.{name}"[:NAME_CHARACTERS_MAX], faults)
            elif levels(item) > DEPTH_MAX:
                message = f"must not nest deeper than {DEPTH_MAX} levels"
                faults.append(Fault(f"{place}.{name}", message))


def _check_edge(edge: Any, place: str, faults: list[Fault]) -> None:
    edge = _object(edge, place, faults)
    _known(edge, _EDGE, f"{place}.", faults)
    given = {name: edge.get(name) for name in ("sourceHandleId", "targetHandleId")}
    texts = {name: edge.get(name, 0) for name in ("sourceId", "targetId")}
    texts |= {name: value for name, value in given.items() if value is not None}
    faults.extend(
        Fault(f"{place}.{name}", "must be a string")
        for name, value in texts.items()
        if not isinstance(value, str)
    )


def _check_ends(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]], place: str, faults: list[Fault]
) -> None:
    ids = [node["base"]["id"] for node in nodes]
    seen: set[str] = set()
    for index, node_id in enumerate(ids):
        if node_id in seen:
            faults.append(Fault(f"{place}nodes.{index}.base.id", f"{node_id!r} is taken"))
        seen.add(node_id)
    for index, edge in enumerate(edges):
        for name in ("sourceId", "targetId"):
            if edge[name] not in seen:
                message = f"{edge[name]!r} is no node of this workflow"
                faults.append(Fault(f"{place}edges.{index}.{name}", message))


def _object(value: Any, place: str, faults: list[Fault]) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    faults.append(Fault(place, "must be an object"))
    return {}


def _known(given: dict[str, Any], names: tuple[str, ...], place: str, faults: list[Fault]) -> None:
    faults.extend(
        Fault(f"{place}{name}"[:NAME_CHARACTERS_MAX], "should not exist")
        for name in given
        if name not in names
    )


def _list(value: Any, place: str, items_max: int, faults: list[Fault]) -> list[Any]:
    if not isinstance(value, list):
        faults.append(Fault(place, "must be an array"))
        return []
    if len(value) > items_max:
        faults.append(Fault(place, f"must have {items_max} items at most"))
        return []
    return value
