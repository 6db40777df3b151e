"""Runs that start, end and revive other runs: in one transaction, or by stored Sends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from batuta.model.change import DropSend, Send
from batuta.model.command import RetryWorkflow, TerminateWorkflow
from batuta.model.execution import TaskStatus, WorkflowStatus
from tests.engine.definitions import chain, child, simple, task_def, workflow
from tests.engine.node import Clock, Counting, Node, OpenStore, running, turns

FATAL = TaskStatus.FAILED_WITH_TERMINAL_ERROR


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    """Give a node whose store counts its calls."""
    async with running(open_store, clock, wrap=Counting) as node:
        yield node


def changes(node: Node, kind: type) -> int:
    """Count the changes of a kind that were handed to the store."""
    return sum(
        isinstance(change, kind)
        for batch in node.store.batches
        for decision in batch.decisions
        for run in decision.runs
        for change in run.changes
    )


async def family(node: Node) -> tuple[str, str]:
    """Register a parent with one child and start it; return both ids."""
    await node.register(chain("inner", 1))
    await node.register(workflow("outer", child("c", "inner"), simple("after", "last")))
    outer = await node.start("outer", {"x": 1})
    inner = (await node.task(outer, "c")).task.child_id
    assert inner is not None
    return outer, inner


async def test_a_child_is_started_in_the_transaction_of_its_parent(node: Node) -> None:
    await node.register(chain("inner", 1))
    await node.register(workflow("outer", child("c", "inner")))
    node.store.forget()

    outer = await node.start("outer", {"x": 1})

    assert node.store.calls["commit"] == 1
    [batch] = node.store.batches
    assert [len(decision.runs) for decision in batch.decisions] == [2]
    assert changes(node, Send) == 0
    view = await node.task(outer, "c")
    assert view.task.status is TaskStatus.IN_PROGRESS
    inner = await node.engine.get(view.task.child_id or "")
    assert inner.workflow.parent_id == outer
    assert inner.input.value == {"x": 1}


async def test_a_child_ends_in_one_transaction_with_its_parents_next_step(node: Node) -> None:
    outer, inner = await family(node)
    polled = await node.poll("step")
    node.store.forget()

    await node.report(polled, {"n": 1})

    assert node.store.calls == {"commit": 1}
    assert changes(node, Send) == 0
    assert await node.status_of(inner) is WorkflowStatus.COMPLETED
    assert (await node.task(outer, "c")).task.status is TaskStatus.COMPLETED
    assert (await node.poll("last")).workflow.workflow_id == outer


async def test_a_child_whose_parent_is_busy_sends_its_end_and_it_arrives_once(node: Node) -> None:
    await node.register(chain("inner", 1))
    siblings = [child(f"c{number}", "inner") for number in range(2)]
    fork = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN"}
    join = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["c0", "c1"]}
    tasks = [fork | {"forkTasks": [[one] for one in siblings]}, join]
    await node.register(workflow("outer", *tasks))
    outer = await node.start("outer", {"x": 1})
    first, second = await node.engine.poll("step", count=2, wait_ms=0)
    node.store.forget()

    # The second report is decided while the parent is in the first one's batch.
    node.store.gate.clear()
    reports = [asyncio.create_task(node.report(first))]
    await turns()
    reports.append(asyncio.create_task(node.report(second)))
    await turns()
    node.store.gate.set()
    await asyncio.gather(*reports)
    assert changes(node, Send) == 1
    await node.look_for_due()

    assert changes(node, DropSend) == 1
    assert (await node.store.due(0, 10)).sends == []
    run = await node.engine.get(outer)
    assert run.workflow.status is WorkflowStatus.COMPLETED
    assert run.workflow.version == 3


async def test_a_pass_of_the_timers_beside_its_commit_lets_no_later_send_overtake_one(
    node: Node,
) -> None:
    await node.register(chain("inner", 1))
    names = [f"c{number}" for number in range(3)]
    fork = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN"}
    join = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": names}
    await node.register(
        workflow("outer", fork | {"forkTasks": [[child(name, "inner")] for name in names]}, join)
    )
    outer = await node.start("outer", {"x": 1})
    first, second, third = await node.engine.poll("step", count=3, wait_ms=0)
    node.store.forget()
    node.store.gate.clear()
    reports = [asyncio.create_task(node.report(first))]
    await turns()
    reports.append(asyncio.create_task(node.report(second)))
    await turns()

    await node.engine.timers.read()  # the row of the second one's end is not there yet
    node.store.gate.set()
    await asyncio.gather(*reports)
    assert len((await node.store.due(0, 10)).sends) == 1
    await node.report(third)

    assert changes(node, Send) == 2
    for _ in range(2):
        await node.look_for_due()
    assert await node.status_of(outer) is WorkflowStatus.COMPLETED


async def test_a_parent_and_its_child_that_are_not_in_memory_find_each_other(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock, cache_bytes_max=0) as node:
        outer, inner = await family(node)

        await node.report(await node.poll("step"))
        await node.look_for_due()

        assert await node.status_of(inner) is WorkflowStatus.COMPLETED
        await node.report(await node.poll("last"))
        assert await node.status_of(outer) is WorkflowStatus.COMPLETED


async def test_the_end_of_a_parent_ends_its_child(node: Node) -> None:
    outer, inner = await family(node)
    polled = await node.poll("step")

    await node.engine.control(TerminateWorkflow(workflow_id=outer, reason="enough"))
    await node.look_for_due()

    assert await node.status_of(inner) is WorkflowStatus.TERMINATED
    assert (await node.report(polled)).is_terminal
    assert await node.store.queues() == []


async def test_a_failed_child_fails_its_parent_and_a_retry_of_it_revives_both(node: Node) -> None:
    outer, inner = await family(node)
    await node.report(await node.poll("step"), status=FATAL, reason="broken")
    await node.look_for_due()
    assert await node.status_of(inner) is WorkflowStatus.FAILED
    assert await node.status_of(outer) is WorkflowStatus.FAILED

    await node.engine.control(RetryWorkflow(workflow_id=inner))
    await node.look_for_due()

    assert await node.status_of(outer) is WorkflowStatus.RUNNING
    await node.report(await node.poll("step"))
    await node.report(await node.poll("last"))
    assert await node.status_of(inner) is WorkflowStatus.COMPLETED
    assert await node.status_of(outer) is WorkflowStatus.COMPLETED


async def test_a_failed_run_starts_its_failure_workflow_with_what_went_wrong(node: Node) -> None:
    await node.register(chain("clean_up", 1, "clean"))
    await node.register(
        chain("fails", 1, failureWorkflow="clean_up"), tasks=[task_def("step", retryCount=0)]
    )
    failed = await node.start("fails", {"x": 1})

    await node.report(await node.poll("step"), status=TaskStatus.FAILED, reason="broken")
    await node.look_for_due()

    run = await node.engine.get(failed)
    assert run.workflow.status is WorkflowStatus.FAILED
    cleaning = await node.poll("clean")
    assert cleaning.workflow.workflow_id == run.workflow.failure_workflow_id
    own_input = (await node.engine.get(cleaning.workflow.workflow_id)).input.value
    assert own_input["workflowId"] == failed
    assert own_input["reason"].endswith("'broken'")
    await node.report(cleaning)
    assert await node.status_of(cleaning.workflow.workflow_id) is WorkflowStatus.COMPLETED


async def test_children_of_children_start_and_end_in_one_transaction_each(node: Node) -> None:
    await node.register(chain("level0", 1))
    for depth in range(1, 6):
        await node.register(workflow(f"level{depth}", child("c", f"level{depth - 1}")))
    await node.start("level5", {"x": 1})  # brings the definitions into memory
    for _ in range(5):
        await node.look_for_due()
    await node.report(await node.poll("step"))
    node.store.forget()

    top = await node.start("level5", {"x": 1})
    assert node.store.calls["commit"] == 1
    await node.report(await node.poll("step"))

    assert await node.status_of(top) is WorkflowStatus.COMPLETED
    assert changes(node, Send) == 0
    assert node.store.calls["commit"] == 3  # the start, the claim, the report
