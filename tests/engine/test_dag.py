"""A DAG in a whole engine: over restarts, in delays, many nodes, and why it is not moving."""

from typing import Any

from batuta.core.dag.ways import DAG_TASKS_MAX
from batuta.model.execution import WorkflowStatus
from batuta.runtime.why.cause import Code
from batuta.runtime.why.collect import why
from tests.engine.definitions import Document, simple, workflow
from tests.engine.node import Clock, Node, OpenStore, running

MINUTE_MS = 60_000


def dag(name: str, nodes: list[Document], *edges: dict[str, Any]) -> Document:
    """Return a workflow that is one DAG."""
    own = {"name": "graph", "taskReferenceName": "graph", "type": "DAG"}
    return workflow(name, {**own, "dagTasks": nodes, "dagEdges": list(edges)})


async def test_a_delay_outlives_a_restart_and_what_was_left_out_stays_so(
    open_store: OpenStore, clock: Clock
) -> None:
    nodes = [simple("a"), simple("b"), simple("c")]
    edges = (
        {"from": "a", "to": "b", "when": "$.n == 1", "delayMs": MINUTE_MS},
        {"from": "a", "to": "c", "when": "$.n == 2"},
    )
    async with running(open_store, clock) as node:
        await node.register(dag("g", nodes, *edges))
        run_id = await node.start("g")
        await node.report(await node.poll("step"), {"n": 1})
        assert await node.polls_nothing("step")

    async with running(open_store, clock) as node:
        await node.advance(MINUTE_MS + 1_000)
        polled = await node.poll("step")
        assert polled.task.reference_name == "b"
    async with running(open_store, clock) as node:
        await node.report(polled, {"n": 3})

        run = await node.engine.get(run_id)

    assert run.workflow.status is WorkflowStatus.COMPLETED
    words = {view.task.reference_name: view.task.status.value for view in run.tasks}
    assert words == {"graph": "COMPLETED", "a": "COMPLETED", "b": "COMPLETED", "c": "SKIPPED"}


async def test_as_many_nodes_as_a_dag_may_have_run_to_its_end(node: Node) -> None:
    names = [f"n{number}" for number in range(DAG_TASKS_MAX - 1)]
    edges = [{"from": name, "to": "last"} for name in names]
    await node.register(dag("wide", [simple(name) for name in (*names, "last")], *edges))
    run_id = await node.start("wide")

    await node.work("step", DAG_TASKS_MAX, batch=100)

    assert await node.status_of(run_id) is WorkflowStatus.COMPLETED


async def test_a_dag_names_its_open_nodes_and_then_the_delay_that_it_waits_for(node: Node) -> None:
    edge = {"from": "a", "to": "b", "delayMs": MINUTE_MS}
    await node.register(dag("g", [simple("a"), simple("b")], edge))
    run = await node.start("g")

    *_, before = (await why(node.engine, run)).causes
    await node.report(await node.poll("step"))
    [after] = (await why(node.engine, run)).causes

    assert (before.code, before.message) == (Code.DAG_OPEN, "DAG 'graph' has open nodes: 'a'")
    assert after.code == Code.START_AT
    assert "'graph'" in after.message
    assert after.until_ms - after.since_ms >= MINUTE_MS
