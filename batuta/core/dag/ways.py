"""The edges of a DAG: what leads to a node, what a node leads to, and an order of all of them."""

from collections import deque

import msgspec

from batuta.model.definition import DagEdge, WorkflowTask

DAG_TASKS_MAX = 1_000  # nodes of one DAG; all of them may begin in one transaction
DAG_EDGES_MAX = 10_000  # edges of one DAG; looking at all of them takes some 10 ms
DELAY_MS_MAX = 366 * 24 * 3_600_000  # of an edge: a year; longer ones are a slip of units


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """The edges of a DAG by node.

    ``order``: every node after those that lead to it; nodes in or behind a circle come last.
    ``into``, ``out``: the edges that end and that begin at a node.
    """

    order: tuple[str, ...]
    into: dict[str, tuple[DagEdge, ...]]
    out: dict[str, tuple[DagEdge, ...]]


def ways_of(task: WorkflowTask) -> Ways:
    """Return the edges of a DAG by node; whatever is wrong with them is left as it is."""
    names = [node.task_reference_name for node in task.dag_tasks or ()]
    edges = task.dag_edges or ()
    into: dict[str, list[DagEdge]] = {name: [] for name in names}
    out: dict[str, list[DagEdge]] = {name: [] for name in names}
    for edge in edges:
        into.setdefault(edge.target, []).append(edge)
        out.setdefault(edge.source, []).append(edge)
    ordered = _ordered(task)
    placed = set(ordered)
    return Ways(
        order=(*ordered, *(name for name in names if name not in placed)),
        into={name: tuple(found) for name, found in into.items()},
        out={name: tuple(found) for name, found in out.items()},
    )


def circle_of(task: WorkflowTask) -> list[str]:
    """Return nodes of a DAG that lead to one another, in order; empty when there are none."""
    placed = set(_ordered(task))
    left = [
        n.task_reference_name for n in task.dag_tasks or () if n.task_reference_name not in placed
    ]
    before = {edge.target: edge.source for edge in task.dag_edges or () if edge.source in left}
    if not left:
        return []
    # Each that is left has one that is left before it: going back comes round.
    path = [left[0]]
    while before[path[-1]] not in path:
        path.append(before[path[-1]])
    circle = path[path.index(before[path[-1]]) :]
    return circle[::-1]


def _ordered(task: WorkflowTask) -> list[str]:
    """Return the nodes that no circle holds up, each after those that lead to it."""
    names = dict.fromkeys(node.task_reference_name for node in task.dag_tasks or ())
    edges = [e for e in task.dag_edges or () if e.source in names and e.target in names]
    open_edges = dict.fromkeys(names, 0)
    behind: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        open_edges[edge.target] += 1
        behind[edge.source].append(edge.target)
    ready = deque(name for name, count in open_edges.items() if count == 0)
    found: list[str] = []
    while ready:
        name = ready.popleft()
        found.append(name)
        for target in behind[name]:
            open_edges[target] -= 1
            if open_edges[target] == 0:
                ready.append(target)
    return found
