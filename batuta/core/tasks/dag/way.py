"""Which nodes of a DAG may run now, which are left out, and which have to wait.

Theory of operation. Everything is read off the tasks: a node that has ended and been followed is
done, one that no taken edge led to has a SKIPPED task that says so, whatever else is open.
A node is decided when all nodes that lead to it are settled, by the edges that were taken: one or
more, and it runs once the longest of their delays is over; none, and it is left out, which may
decide those behind it. Nothing is remembered beside the tasks, so that a pause, a restart or a
rerun finds the same.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from batuta.core.condition import Refused, evaluate
from batuta.core.draft import Draft
from batuta.core.execution import Execution
from batuta.core.expression.script import is_true
from batuta.core.graph import Node
from batuta.core.scope import task_output
from batuta.model.definition import DagEdge
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import EMPTY


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at nodes has found.

    ``ready``: the definition's names of those that may run now. ``due_at_ms``: when the next one
    may that waits for a delay, 0 for none. ``refused``: why an edge's condition gave nothing.
    """

    ready: tuple[str, ...]
    due_at_ms: int
    refused: str | None = None


def look(draft: Draft, holder: Task, names: Iterable[str]) -> Ahead:
    """Decide the nodes of an open DAG that can be decided; leave out those that nothing leads to.

    Args:
        names: In the definition, those that may have become decidable.
    """
    graph = draft.execution.graph
    ways = graph.node_of(holder).ways
    assert ways is not None, "only a DAG has ways"
    ready: dict[str, None] = {}
    dues_at_ms: list[int] = []
    waiting = deque(names)
    while waiting:
        name = waiting.popleft()
        if name not in ways.into or not is_undecided(draft.execution, holder, name):
            continue
        edges = ways.into[name]
        if not all(is_settled(draft.execution, holder, edge.source) for edge in edges):
            continue
        due_at_ms = _due_at_ms(draft, holder, edges)
        if isinstance(due_at_ms, Refused):
            reason = f"edge into {name!r}: {due_at_ms.message}"
            return Ahead(ready=(), due_at_ms=0, refused=reason)
        if due_at_ms is None:
            _leave_out(draft, holder, name)
            waiting.extend(edge.target for edge in ways.out[name])
        elif due_at_ms <= draft.now_ms:
            ready[name] = None
        else:
            dues_at_ms.append(due_at_ms)
    return Ahead(ready=tuple(ready), due_at_ms=min(dues_at_ms, default=0))


def reached(execution: Execution, holder: Task) -> set[str]:
    """Return the full names of the nodes that the run has come to: all that lead there settled.

    What an operator skipped does not count as settled behind something that is not.
    """
    ways = execution.graph.node_of(holder).ways
    assert ways is not None, "only a DAG has ways"
    found: set[str] = set()
    for name in ways.order:
        sources = [edge.source for edge in ways.into[name]]
        if all(
            source + holder.suffix in found and is_settled(execution, holder, source)
            for source in sources
        ):
            found.add(name + holder.suffix)
    return found


def is_settled(execution: Execution, holder: Task, name: str) -> bool:
    """Say whether a node of a DAG has ended for good, or was left out."""
    task = execution.latest_task(name + holder.suffix)
    return task is not None and task.status.is_terminal and task.is_executed


def is_undecided(execution: Execution, holder: Task, name: str) -> bool:
    """Say whether a node of a DAG has yet to begin; one that was skipped in advance has too."""
    task = execution.latest_task(name + holder.suffix)
    if task is None:
        return True
    return task.status is TaskStatus.SKIPPED and not task.is_executed


def _due_at_ms(draft: Draft, holder: Task, edges: Iterable[DagEdge]) -> int | Refused | None:
    """Return when a node may run whose edges are these; None when none of them was taken."""
    due_at_ms: int | None = None
    is_root = True
    for edge in edges:
        is_root = False
        task = draft.execution.latest_task(edge.source + holder.suffix)
        assert task is not None, "a node that is settled has a task"
        is_taken = False if task.is_left_out else _is_taken(draft, task, edge)
        if isinstance(is_taken, Refused):
            return is_taken
        if is_taken:
            due_at_ms = max(due_at_ms or 0, task.ended_at_ms + edge.delay_ms)
    return 0 if is_root else due_at_ms


def _is_taken(draft: Draft, task: Task, edge: DagEdge) -> bool | Refused:
    if edge.when is None:
        return True
    values = task_output(draft, task).value
    found = evaluate(draft, edge.when, values if isinstance(values, dict) else {})
    return found if isinstance(found, Refused) else is_true(found)


def _leave_out(draft: Draft, holder: Task, name: str) -> None:
    """Note that a node is not run; so the run shows why, and those behind it can be decided."""
    reason = "left out: no edge that leads here was taken"
    known = draft.execution.latest_task(name + holder.suffix)
    if known is not None:
        draft.put(known, is_executed=True, is_left_out=True, reason=reason)
        return
    graph = draft.execution.graph
    origin = graph.home_of(holder.origin, name)
    node: Node = graph.family(origin)[name]
    suffix = holder.suffix
    draft.add(
        node,
        suffix,
        EMPTY,
        task_id=draft.new_id(),
        task_type=node.queue if node.is_worker else node.type,
        status=TaskStatus.SKIPPED,
        first_scheduled_at_ms=draft.now_ms,
        ended_at_ms=draft.now_ms,
        is_executed=True,
        is_left_out=True,
        reason=reason,
        iteration=int(suffix.rsplit("__", 1)[1]) if suffix else 0,
        **({} if origin is None else {"origin": origin}),
    )
