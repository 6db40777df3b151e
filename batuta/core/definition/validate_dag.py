"""The rules of a DAG: its nodes, and the edges between them. See docs/design/010-dag.md."""

from collections.abc import Iterator
from typing import Any

from batuta.core.dag.ways import DAG_EDGES_MAX, DAG_TASKS_MAX, DELAY_MS_MAX, circle_of
from batuta.model.definition import DagEdge, WorkflowTask

# Each of these says what runs next; in a DAG edges do. A node is one task that stands for all
# that is inside it, as a DO_WHILE, a SUB_WORKFLOW or another DAG does.
_NO_NODES = frozenset(
    {"FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN", "EXCLUSIVE_JOIN", "SWITCH", "DECISION"}
)

Breach = tuple[str, str, Any]
"""A field of the DAG, what is wrong with it, and its value."""


def breaches(task: WorkflowTask) -> Iterator[Breach]:
    """Find every rule that a DAG breaks."""
    nodes, edges = task.dag_tasks or [], task.dag_edges or []
    if not nodes:
        yield "dagTasks", "has no dagTasks; give at least one node", []
        return
    if len(nodes) > DAG_TASKS_MAX:
        message = f"has {len(nodes)} dagTasks, more than {DAG_TASKS_MAX}; use sub-workflows"
        yield "dagTasks", message, len(nodes)
        return
    if len(edges) > DAG_EDGES_MAX:
        message = f"has {len(edges)} dagEdges, more than {DAG_EDGES_MAX}; use sub-workflows"
        yield "dagEdges", message, len(edges)
        return
    for index, node in enumerate(nodes):
        if node.type in _NO_NODES:
            message = (
                f"has the {node.type} {node.task_reference_name!r} among its nodes; use edges, or"
                " put it into a DO_WHILE or a sub-workflow"
            )
            yield f"dagTasks[{index}].type", message, node.type
    names = frozenset(node.task_reference_name for node in nodes)
    seen: set[tuple[str, str]] = set()
    for index, edge in enumerate(edges):
        for field, message, value in _edge_breaches(edge, names):
            yield f"dagEdges[{index}].{field}", message, value
        if (edge.source, edge.target) in seen:
            message = (
                f"has two edges from {edge.source!r} to {edge.target!r}; join their conditions"
            )
            yield f"dagEdges[{index}]", message, edge.target
        seen.add((edge.source, edge.target))
    circle = circle_of(task)
    if circle:
        way = " -> ".join(repr(name) for name in (*circle, circle[0]))
        yield "dagEdges", f"has edges that lead round: {way}; remove one of them", circle


def _edge_breaches(edge: DagEdge, names: frozenset[str]) -> Iterator[Breach]:
    for field, name in (("from", edge.source), ("to", edge.target)):
        if name not in names:
            message = f"has an edge {field} {name!r}, which is none of its dagTasks; correct it"
            yield field, message, name
    between = f"{edge.source!r} and {edge.target!r}"
    if edge.when is not None and not edge.when.strip():
        message = f"has an empty condition between {between}; leave it out for always"
        yield "when", message, edge.when
    if not 0 <= edge.delay_ms <= DELAY_MS_MAX:
        message = f"has the delayMs {edge.delay_ms} between {between}; use 0 to {DELAY_MS_MAX}"
        yield "delayMs", message, edge.delay_ms
