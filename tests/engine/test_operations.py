"""Operations on every store, with runs in memory and without."""

import asyncio

import pytest

from batuta.model.command import (
    DeleteWorkflow,
    RerunWorkflow,
    RestartWorkflow,
    RetryWorkflow,
    SkipTask,
    TerminateWorkflow,
)
from batuta.model.error import NotFoundError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from tests.engine.definitions import chain, child, simple, task_def, wait, workflow
from tests.engine.node import Clock, Node, OpenStore, running

FATAL = TaskStatus.FAILED_WITH_TERMINAL_ERROR
CACHES = pytest.mark.parametrize("cache_bytes_max", [0, 64_000_000])


async def finished(node: Node, name: str, length: int) -> str:
    """Run a chain to its end; return its id."""
    workflow_id = await node.start(name, {"x": 1})
    await node.work("step", length)
    assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED
    return workflow_id


@CACHES
async def test_a_restart_takes_the_latest_definition_and_a_restarted_node_has_it(
    open_store: OpenStore, clock: Clock, cache_bytes_max: int
) -> None:
    async with running(open_store, clock, cache_bytes_max=cache_bytes_max) as node:
        await node.register(chain("w", 2))
        workflow_id = await finished(node, "w", 2)
        await node.register(workflow("w", simple("other", "else"), version=2))

        await node.engine.control(RestartWorkflow(workflow_id=workflow_id, use_latest=True))

        run = await node.engine.get(workflow_id)
        assert (run.workflow.definition_version, run.workflow.epoch) == (2, 1)

    async with running(open_store, clock, cache_bytes_max=cache_bytes_max) as node:
        run = await node.engine.get(workflow_id)
        assert [view.task.reference_name for view in run.tasks] == ["other"]
        assert run.graph.definition.version == 2
        await node.report(await node.poll("else"))
        assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED


@CACHES
async def test_a_rerun_keeps_large_inputs_and_an_old_report_changes_nothing(
    open_store: OpenStore, clock: Clock, cache_bytes_max: int
) -> None:
    large = "x" * 50_000
    async with running(open_store, clock, cache_bytes_max=cache_bytes_max) as node:
        tasks = [simple("a"), simple("b", inputParameters={"v": "${workflow.input.x}"})]
        await node.register(workflow("w", *tasks))
        workflow_id = await node.start("w", {"x": large})
        await node.report(await node.poll("step"))
        held = await node.poll("step")
        await node.engine.control(TerminateWorkflow(workflow_id=workflow_id))

        await node.engine.operations.rerun(
            RerunWorkflow(workflow_id=workflow_id, task_id=held.task.task_id)
        )

        with pytest.raises(NotFoundError):
            await node.report(held, {"late": True})
        again = await node.poll("step")
        assert again.task.task_id != held.task.task_id
        assert again.input.value == {"v": large}
        await node.report(again)
        assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED


async def test_a_removed_run_leaves_no_row_and_what_comes_after_it_is_not_found(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        limited = task_def("step", pollTimeoutSeconds=60)
        await node.register(workflow("w", wait("w", "1 hour"), simple("a")), tasks=[limited])
        await node.register(chain("c", 1), tasks=[limited])
        first, second = await node.start("w"), await node.start("c")
        held = await node.poll("step")

        remove = DeleteWorkflow(workflow_id=second, must_have_ended=False)
        together = [node.engine.control(remove), node.engine.control(remove), node.report(held)]
        outcomes = await asyncio.gather(*together, return_exceptions=True)
        await node.engine.operations.remove(first)

        assert outcomes[0] is None
        assert [type(outcome) for outcome in outcomes[1:]] == [NotFoundError, NotFoundError]
        for workflow_id in (first, second):
            with pytest.raises(NotFoundError):
                await node.engine.get(workflow_id)
        with pytest.raises(NotFoundError):
            await node.engine.get_task(held.task.task_id)
        due = await node.store.due(clock.now_ms() + 10_000_000, 100)
        assert (due.timers, due.leases, due.sends) == ([], [], [])
        assert await node.store.queues() == []
        assert await node.polls_nothing("step")


@CACHES
async def test_what_a_child_sends_to_a_removed_parent_is_forgotten(
    open_store: OpenStore, clock: Clock, cache_bytes_max: int
) -> None:
    async with running(open_store, clock, cache_bytes_max=cache_bytes_max) as node:
        await node.register(chain("inner", 1))
        await node.register(workflow("outer", child("c", "inner")))
        outer = await node.start("outer")
        inner = (await node.task(outer, "c")).task.child_id or ""
        await node.engine.control(DeleteWorkflow(workflow_id=outer, must_have_ended=False))
        await node.look_for_due()
        assert await node.status_of(inner) is WorkflowStatus.TERMINATED

        await node.engine.control(RestartWorkflow(workflow_id=inner))
        await node.report(await node.poll("step"))
        await node.look_for_due()

        assert await node.status_of(inner) is WorkflowStatus.COMPLETED
        assert (await node.store.due(0, 10)).sends == []
        assert await node.engine.quarantine.rows() == []


async def test_a_retry_that_should_go_on_in_a_removed_child_fails_there(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("inner", 1))
        await node.register(workflow("outer", child("c", "inner")))
        outer = await node.start("outer")
        inner = (await node.task(outer, "c")).task.child_id or ""
        await node.report(await node.poll("step"), status=FATAL)
        await node.look_for_due()
        await node.engine.control(DeleteWorkflow(workflow_id=inner))

        await node.engine.control(RetryWorkflow(workflow_id=outer, resume_children=True))
        await node.look_for_due()

        run = await node.engine.get(outer)
        assert run.workflow.status is WorkflowStatus.FAILED
        assert "was removed" in (run.workflow.reason or "")
        assert (await node.store.due(0, 10)).sends == []


@CACHES
async def test_a_skipped_task_is_stepped_over_after_a_restart_of_the_node(
    open_store: OpenStore, clock: Clock, cache_bytes_max: int
) -> None:
    async with running(open_store, clock, cache_bytes_max=cache_bytes_max) as node:
        await node.register(chain("w", 3))
        workflow_id = await node.start("w")
        skip = SkipTask(workflow_id=workflow_id, reference_name="s1", output=Payload(b'{"v":1}'))
        await node.engine.control(skip)

    async with running(open_store, clock, cache_bytes_max=cache_bytes_max) as node:
        await node.report(await node.poll("step"))
        last = await node.poll("step")
        assert last.task.reference_name == "s2"
        assert (await node.task(workflow_id, "s1")).output.value == {"v": 1}
        await node.report(last)
        assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED
