"""Bugs planted on the DAG operator: the reference has to find them."""

import contextlib
from typing import Any
from unittest import mock

from batuta.core import settle
from batuta.core.tasks.dag import container, way

Patch = contextlib.AbstractContextManager[Any]


def dag_joins_early() -> Patch:
    """A node runs as soon as one of those that lead to it has ended, not all."""
    real = way.look

    def look(draft: Any, holder: Any, names: Any) -> Any:
        settled = way.is_settled

        def is_settled(execution: Any, dag: Any, name: str) -> bool:
            known = execution.latest_task(name + dag.suffix)
            return known is None or settled(execution, dag, name)

        def taken(draft: Any, dag: Any, edges: Any) -> Any:
            ended = [e for e in edges if draft.execution.latest_task(e.source + dag.suffix)]
            return due(draft, dag, ended) if ended or not edges else 1 << 60

        due = way._due_at_ms
        with (
            mock.patch.object(way, "is_settled", is_settled),
            mock.patch.object(way, "_due_at_ms", taken),
        ):
            return real(draft, holder, names)

    return _looking(look)


def dag_skip_lost() -> Patch:
    """What is behind a node that was left out is not decided."""

    def leave_out(draft: Any, holder: Any, name: str) -> None:
        real(draft, holder, name)
        raise _StopError

    def look(draft: Any, holder: Any, names: Any) -> Any:
        with contextlib.suppress(_StopError):
            return found(draft, holder, names)
        return way.Ahead(ready=(), due_at_ms=0)

    real, found = way._leave_out, way.look
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(way, "_leave_out", leave_out))
    stack.enter_context(_looking(look))
    return stack


class _StopError(Exception):
    """Nothing more is looked at."""


def dag_delay_for_each() -> Patch:
    """A delay counts again for each of the nodes behind it: the third waits three times."""
    real = way._due_at_ms

    def due_at_ms(draft: Any, holder: Any, edges: Any) -> Any:
        found = real(draft, holder, edges)
        if not isinstance(found, int) or not edges:
            return found
        ways = draft.execution.graph.node_of(holder).ways
        return found + sum(e.delay_ms * ways.out[e.source].index(e) for e in edges)

    return mock.patch.object(way, "_due_at_ms", due_at_ms)


def dag_delay_forgotten() -> Patch:
    """A node does not wait for the delay of its edge."""
    real = way._due_at_ms

    def due_at_ms(draft: Any, holder: Any, edges: Any) -> Any:
        found = real(draft, holder, edges)
        return min(found, draft.now_ms) if isinstance(found, int) else found

    return mock.patch.object(way, "_due_at_ms", due_at_ms)


def dag_takes_one_edge() -> Patch:
    """Of several edges of a node whose conditions hold only the first is taken."""
    real = way._is_taken

    def is_taken(draft: Any, task: Any, edge: Any) -> Any:
        found = real(draft, task, edge)
        if edge.when is None or found is not True:
            return found
        owner = draft.execution.graph.node_of(task).owner
        others = owner.ways.out[edge.source]
        first = next(e for e in others if e.when is not None and real(draft, task, e) is True)
        return first is edge

    return mock.patch.object(way, "_is_taken", is_taken)


def dag_condition_ignored() -> Patch:
    """Every edge of a node that ran is taken."""
    return mock.patch.object(way, "_is_taken", return_value=True)


def dag_node_started_twice() -> Patch:
    """Where ways meet, each of them begins the node."""
    real = settle.schedule

    def schedule(draft: Any, name: str, suffix: str, origin: Any = None) -> None:
        graph = draft.execution.graph
        node = graph.family(graph.home_of(origin, name) if origin else None).get(name)
        is_new = draft.execution.latest_task(name + suffix) is None
        real(draft, name, suffix, origin)
        is_node = node is not None and node.owner is not None and node.owner.type == "DAG"
        if is_node and is_new and len(node.owner.ways.into[name]) > 1 and node.is_worker:
            settle.begin(draft, node, suffix, origin=origin)

    return mock.patch.object(settle, "schedule", schedule)


def dag_root_lost() -> Patch:
    """Only the first of the nodes that nothing leads to begins."""
    real = container.check_dag

    def check_dag(draft: Any, task: Any) -> Any:
        ready = real(draft, task)
        into = draft.execution.graph.node_of(task).ways.into
        roots = [name for name in ready if not into[name]]
        return tuple(name for name in ready if name not in roots[1:])

    return mock.patch.object(settle, "check_dag", check_dag)


def dag_ends_early() -> Patch:
    """A DAG ends while a node waits for a delay."""
    real = container.look

    def look(draft: Any, holder: Any, names: Any) -> Any:
        found = real(draft, holder, names)
        return way.Ahead(ready=found.ready, due_at_ms=0, refused=found.refused)

    return mock.patch.object(container, "look", look)


def dag_failure_forgotten() -> Patch:
    """A DAG completes though a permissive node of it failed."""

    def end_as(draft: Any, task: Any, names: Any) -> None:
        real(draft, task, [n for n in names if draft.execution.latest_task(n).status.is_successful])

    real = container.end_as
    return mock.patch.object(container, "end_as", end_as)


def _looking(look: Any) -> Patch:
    """Have the container look at nodes in another way."""
    return mock.patch.object(container, "look", look)


DAG_PLANTS = (
    dag_joins_early,
    dag_skip_lost,
    dag_delay_for_each,
    dag_delay_forgotten,
    dag_takes_one_edge,
    dag_condition_ignored,
    dag_node_started_twice,
    dag_root_lost,
    dag_ends_early,
    dag_failure_forgotten,
)
