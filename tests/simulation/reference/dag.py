"""DAG: what its edges say of its nodes. Source: docs/design/010-dag.md, DESIGN.md 7, S1.5.

A node is decided when all nodes that lead to it are settled: it runs when an edge into it was
taken, once the longest delay of its taken edges is over, and is left out when none was. What
ends a node moves those behind it, in the order of the edges; all nodes are looked at when the DAG
begins, when nothing in it runs any more, when a delay is over, and when the run goes on.
"""

from collections import deque
from typing import TYPE_CHECKING

from batuta.model.change import Failure
from batuta.model.definition import DagEdge
from batuta.model.execution import TaskStatus
from tests.simulation.generate.script import run_script
from tests.simulation.reference.fact import UncoveredError

if TYPE_CHECKING:
    from tests.simulation.reference.machine import Machine
    from tests.simulation.reference.made import Made

_LOST = object()  # what a condition gives that throws


def look_behind(machine: "Machine", made: "Made") -> None:
    """Decide the nodes that edges lead to from one that has ended."""
    owner = made.place.owner
    if owner is None or owner.node.type != "DAG":
        return
    dag = machine.latest[owner.node.task_reference_name + made.suffix]
    if not dag.is_open:
        raise UncoveredError("dag: it has ended before its nodes")
    name = made.node.task_reference_name
    dag.is_due |= _is_idle(machine, dag)  # also of nodes whose delay is over by now
    _look(machine, dag, [edge.target for edge in _edges(dag) if edge.source == name])


def begin(_machine: "Machine", made: "Made") -> None:
    """Open a DAG: what nothing leads to runs at once."""
    made.is_due = True


def check(machine: "Machine", dag: "Made") -> bool:
    """End a DAG when nothing in it runs, may run, or waits for a delay."""
    from tests.simulation.reference.operators import end_as

    is_due, dag.is_due = dag.is_due, False
    if is_due and _look(machine, dag, _in_order(dag)):
        return True
    if not _is_idle(machine, dag) or waits(machine, dag):
        return False
    end_as(machine, dag, [one for one in _nodes(machine, dag) if not one.is_left_out])
    return True


def come_to(machine: "Machine", dag: "Made") -> list[str]:
    """Return the nodes that all that leads to them has been settled of."""
    return [name for name in _in_order(dag) if _are_settled(machine, dag, name)]


def waits(machine: "Machine", dag: "Made") -> bool:
    """Say whether a node of an open DAG waits for nothing but a delay."""
    return dag.node.type == "DAG" and any(
        _is_undecided(machine, dag, name) and _are_settled(machine, dag, name)
        for name in _in_order(dag)
    )


def has_delay(made: "Made") -> bool:
    """Say whether a task is a DAG with an edge that delays what it leads to."""
    return made.node.type == "DAG" and any(edge.delay_ms for edge in _edges(made))


def _look(machine: "Machine", dag: "Made", names: list[str]) -> bool:
    queue, ready = deque(names), {}
    has_moved = False
    while queue:
        name = queue.popleft()
        if not _is_undecided(machine, dag, name) or not _are_settled(machine, dag, name):
            continue
        due_ms = _due_ms(machine, dag, name)
        if due_ms is _LOST:
            _fail(machine, dag)
            return True
        if due_ms is None:
            _leave_out(machine, dag, name)
            has_moved = True
            queue.extend(edge.target for edge in _edges(dag) if edge.source == name)
        elif isinstance(due_ms, int) and due_ms <= machine.fact.at_ms:
            ready[name] = True
    for name in ready:
        machine.schedule(machine.map.places[name].node, dag.suffix)
    return has_moved or bool(ready)


def _due_ms(machine: "Machine", dag: "Made", name: str) -> object:
    """Return when a node may run; None when it is left out, _LOST when nobody can say."""
    edges = [edge for edge in _edges(dag) if edge.target == name]
    found = [] if edges else [0]
    for edge in edges:
        source = machine.latest[edge.source + dag.suffix]
        taken = not source.is_left_out and _is_taken(source, edge)
        if taken is _LOST:
            return _LOST
        if taken:
            found.append(source.ended_at_ms + edge.delay_ms)
    return max(found) if found else None


def _is_taken(source: "Made", edge: DagEdge) -> object:
    if edge.when is None:
        return True
    answer = run_script(edge.when, source.output)
    return _LOST if isinstance(answer, Failure) else bool(answer)


def _fail(machine: "Machine", dag: "Made") -> None:
    is_let_through = dag.node.optional or dag.node.permissive
    if is_let_through and any(one.is_open for one in _nodes(machine, dag)):
        raise UncoveredError("dag: it has ended before its nodes")
    machine.end(dag, TaskStatus.FAILED_WITH_TERMINAL_ERROR)


def _leave_out(machine: "Machine", dag: "Made", name: str) -> None:
    made = machine.latest.get(name + dag.suffix) or machine.make(
        machine.map.places[name], dag.suffix, TaskStatus.SKIPPED
    )
    made.is_left_out = made.is_followed = True


def _is_undecided(machine: "Machine", dag: "Made", name: str) -> bool:
    made = machine.latest.get(name + dag.suffix)
    return made is None or (made.status is TaskStatus.SKIPPED and not made.is_followed)


def _are_settled(machine: "Machine", dag: "Made", name: str) -> bool:
    """Say whether all that leads to a node has ended for good, or was left out."""
    sources = [edge.source for edge in _edges(dag) if edge.target == name]
    found = [machine.latest.get(source + dag.suffix) for source in sources]
    return all(one is not None and not one.is_open and one.is_followed for one in found)


def _is_idle(machine: "Machine", dag: "Made") -> bool:
    return not any(one.is_open for one in _nodes(machine, dag))


def _nodes(machine: "Machine", dag: "Made") -> "list[Made]":
    found = [machine.latest.get(name + dag.suffix) for name in _in_order(dag)]
    return [one for one in found if one is not None]


def _edges(dag: "Made") -> list[DagEdge]:
    return dag.node.dag_edges or []


def _in_order(dag: "Made") -> list[str]:
    """Return the nodes so that each comes after those that lead to it, else as they are listed."""
    names = [node.task_reference_name for node in dag.node.dag_tasks or []]
    found: list[str] = []
    queue = deque(n for n in names if not any(edge.target == n for edge in _edges(dag)))
    while queue:
        name = queue.popleft()
        found.append(name)
        for target in (edge.target for edge in _edges(dag) if edge.source == name):
            before = [edge.source for edge in _edges(dag) if edge.target == target]
            if target not in queue and all(one in found for one in before):
                queue.append(target)
    return found
