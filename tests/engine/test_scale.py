"""Wide runs, two nodes on one store, and a cache smaller than what is worked on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batuta.model.execution import WorkflowStatus
from batuta.runtime.view import Polled
from tests.engine.definitions import chain, child, fork, loop, simple, task_def, workflow
from tests.engine.node import LIMIT_S, Clock, Counting, Node, OpenStore, running, turns

COMPLETED = WorkflowStatus.COMPLETED
WIDTH = 2_000


async def test_a_fork_of_two_thousand_branches_joins(node: Node) -> None:
    await node.register(fork("wide", WIDTH))
    workflow_id = await node.start("wide", {"x": 1})

    done = await node.work("step", WIDTH, batch=250)

    assert len({polled.task.task_id for polled in done}) == WIDTH
    run = await node.engine.get(workflow_id)
    assert run.workflow.status is COMPLETED
    joined = run.tasks[-1].output.value
    assert len(joined) == WIDTH
    assert joined["b7"] == {"n": run.tasks[8].task.seq}
    assert await node.store.queues() == []


async def test_a_claim_of_a_busy_run_does_not_read_the_run(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock, wrap=Counting) as node:
        await node.register(fork("four", 4))
        await node.start("four")
        first, second = await node.engine.poll("step", count=2)
        node.store.forget()

        node.store.gate.clear()
        reported = asyncio.create_task(node.report(first))
        await turns()
        polled = asyncio.create_task(node.poll("step"))
        await turns()
        next_reported = asyncio.create_task(node.report(second))  # in its batch by the hand-out
        await turns()
        node.store.gate.set()
        await asyncio.gather(reported, polled, next_reported)

        assert polled.result().task.reference_name == "b2"
        assert node.store.calls == {"commit": 3}


@pytest.fixture
async def two_nodes(
    open_store: OpenStore, store_name: str, clock: Clock
) -> AsyncIterator[tuple[Node, Node]]:
    """Give two nodes on the data of one store."""
    if store_name == "sqlite":
        pytest.skip("a SQLite file has one server")
    async with (
        running(open_store, clock, has_loops=True, wrap=shared, node="a") as first,
        running(open_store, clock, has_loops=True, wrap=shared, node="b") as second,
    ):
        yield first, second


def shared(store: Any) -> Any:
    """Say that others write to the data too; a memory store cannot know."""
    store.is_shared = True
    return store


async def test_two_nodes_hand_out_each_task_once_and_take_each_others_reports(
    two_nodes: tuple[Node, Node],
) -> None:
    length, count = 4, 30
    await two_nodes[0].register(chain("steps", length))
    handed_out: list[Polled] = []

    async def worker(node: Node, other: Node) -> None:
        while len(handed_out) < count * length:
            for polled in await node.engine.poll("step", count=3, wait_ms=200):
                handed_out.append(polled)
                reporter = other if len(handed_out) % 2 else node
                await reporter.report(polled, {"n": 1})

    first, second = two_nodes
    async with asyncio.timeout(2 * LIMIT_S), asyncio.TaskGroup() as group:
        for node, other in ((first, second), (second, first)) * 2:
            group.create_task(worker(node, other))
        runs = [await two_nodes[n % 2].start("steps", {"x": n}) for n in range(count)]

    assert set(Counter(polled.task.task_id for polled in handed_out).values()) == {1}
    for number, workflow_id in enumerate(runs):
        run = await two_nodes[number % 2].engine.get(workflow_id)
        assert run.workflow.status is COMPLETED
        assert len(run.tasks) == length


async def test_two_nodes_that_report_on_one_task_at_once_accept_one_result(
    two_nodes: tuple[Node, Node],
) -> None:
    first, second = two_nodes
    await first.register(chain("one", 1))
    for _ in range(10):
        workflow_id = await first.start("one")
        polled = await second.poll("step")

        await asyncio.gather(first.report(polled, {"by": "a"}), second.report(polled, {"by": "b"}))

        shown = [await node.engine.get(workflow_id) for node in two_nodes]
        assert [run.workflow.version for run in shown] == [2, 2]
        assert shown[0].tasks[0].output == shown[1].tasks[0].output


async def test_a_child_ends_on_one_node_and_its_parent_goes_on_at_the_other(
    two_nodes: tuple[Node, Node],
) -> None:
    first, second = two_nodes
    await first.register(chain("inner", 1))
    await first.register(workflow("outer", child("c", "inner"), simple("after", "last")))
    outer = await first.start("outer", {"x": 1})

    await second.report(await second.poll("step"))
    await first.report(await first.poll("last"))

    assert await second.status_of(outer) is COMPLETED


async def test_a_cache_smaller_than_what_is_worked_on_changes_nothing(
    open_store: OpenStore, clock: Clock
) -> None:
    looping = loop("again", 2, simple("inner", "step"))
    definition = workflow("mixed", simple("first"), looping, child("c", "short"), simple("last"))
    async with running(open_store, clock, has_loops=True, cache_bytes_max=10_000) as node:
        await node.register(chain("short", 1), tasks=[task_def("step")])
        await node.register(definition)
        runs = [await node.start("mixed", {"x": number}) for number in range(40)]

        done: list[Polled] = []

        async def worker() -> None:
            while len(done) < 200:
                polled = await node.engine.poll("step", count=5, wait_ms=200)
                done.extend(polled)
                await asyncio.gather(*(node.report(one, {"n": 1}) for one in polled))

        async with asyncio.timeout(2 * LIMIT_S):
            await asyncio.gather(*(worker() for _ in range(4)))

        assert len({polled.task.task_id for polled in done}) == len(done) == 200
        assert node.engine._cache.size_bytes <= 10_000
        for number, workflow_id in enumerate(runs):
            run = await node.engine.get(workflow_id)
            assert run.workflow.status is COMPLETED
            assert run.tasks[0].input.value == {"x": number}
        assert await node.store.queues() == []
