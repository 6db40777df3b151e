"""A node that ends and another that goes on from the same store."""

import asyncio
from collections.abc import Callable

import pytest

from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime import lifecycle
from batuta.runtime.lifecycle import Supervisor
from tests.engine.definitions import chain, child, simple, task_def, wait, workflow
from tests.engine.node import Clock, OpenStore, running, turns


async def test_queues_and_leases_outlive_a_node(open_store: OpenStore, clock: Clock) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("one", 1))
        starts = await node.start_in_order("one", 3)
        held = await node.poll("step", worker_id="w1")

    async with running(open_store, clock) as node:
        view = await node.task(starts[0], "s0")
        assert view.lease == held.lease
        await node.report(held, {"n": 1})
        ready = await node.engine.poll("step", count=5, wait_ms=0)
        assert [one.workflow.workflow_id for one in ready] == starts[1:]
        for one in ready:
            await node.report(one)

        assert {await node.status_of(run) for run in starts} == {WorkflowStatus.COMPLETED}


async def test_payloads_too_large_for_a_row_reach_workers_and_readers_after_a_restart(
    open_store: OpenStore, clock: Clock
) -> None:
    large = "x" * 50_000
    definition = workflow(
        "large",
        simple("first", inputParameters={"x": "${workflow.input.x}", "n": 1}),
        simple("second", inputParameters={"y": "${first.output.y}"}),
        outputParameters={"z": "${second.output.z}"},
    )
    async with running(open_store, clock) as node:
        await node.register(definition)
        run_id = await node.start("large", {"x": large})

    async with running(open_store, clock) as node:
        first = await node.poll("step")
        assert first.input.value == {"x": large, "n": 1}
        await node.engine.give_back([first])
        first = await node.poll("step")  # now the run is in memory, its payloads are not
        assert first.input.value == {"x": large, "n": 1}
        await node.report(first, {"y": large}, TaskStatus.IN_PROGRESS)
    async with running(open_store, clock) as node:
        first = await node.poll("step")
        assert first.output.value == {"y": large}
        await node.report(first, {"y": large})
    async with running(open_store, clock) as node:
        second = await node.poll("step")
        assert second.input.value == {"y": large}
        await node.report(second, {"z": large})

    async with running(open_store, clock) as node:
        run = await node.engine.get(run_id)
        assert (run.input.value, run.output.value) == ({"x": large}, {"z": large})
        assert run.tasks[0].output.value == {"y": large}
        _, view = await node.engine.get_task(second.task.task_id)
        assert (view.input.value, view.output.value) == ({"y": large}, {"z": large})


async def test_a_timer_set_before_a_restart_fires_after_it(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(workflow("waits", wait("pause", "60 seconds"), simple("after")))
        run = await node.start("waits")

    async with running(open_store, clock) as node:
        await node.advance(59_000)
        assert (await node.task(run, "pause")).task.status is TaskStatus.IN_PROGRESS
        await node.advance(1_500)

        assert (await node.task(run, "pause")).task.status is TaskStatus.COMPLETED
        assert (await node.poll("step")).task.reference_name == "after"


async def test_what_fell_due_while_no_node_ran_is_done_by_the_loops_of_the_next(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(workflow("waits", wait("pause", "60 seconds"), simple("after")))
        run = await node.start("waits")
    clock.move(61_000)

    async with running(open_store, clock, has_loops=True) as node:
        polled = await node.poll("step")

        assert polled.workflow.workflow_id == run
        report = await node.engine.status()
        assert set(report.loops) == {"timers", "limits", "feed"}


async def test_a_lease_made_before_a_restart_ends_after_it_and_the_task_is_tried_again(
    open_store: OpenStore, clock: Clock
) -> None:
    tasks = [task_def("step", responseTimeoutSeconds=30)]
    async with running(open_store, clock) as node:
        await node.register(chain("one", 1), tasks=tasks)
        run = await node.start("one")
        held = await node.poll("step")

    async with running(open_store, clock) as node:
        await node.advance(31_000)

        again = await node.poll("step")
        assert again.task.task_id != held.task.task_id
        assert again.task.retry_count == 1
        late = await node.report(held, {"n": "late"})
        assert late.is_terminal
        await node.report(again, {"n": "in time"})
        tasks_of_run = (await node.engine.get(run)).tasks
        assert [view.task.status for view in tasks_of_run] == [
            TaskStatus.TIMED_OUT,
            TaskStatus.COMPLETED,
        ]


async def test_a_stored_send_is_delivered_by_the_next_node(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("inner", 1))
        await node.register(workflow("outer", child("c", "inner"), simple("after", "last")))
        outer = await node.start("outer", {"x": 1})
        polled = await node.poll("step")
    async with running(open_store, clock) as node:
        # This node does not know the parent, so the child's end becomes a row.
        await node.report(polled)
        assert len((await node.store.due(0, 10)).sends) == 1

    async with running(open_store, clock) as node:
        await node.look_for_due()

        assert (await node.store.due(0, 10)).sends == []
        assert (await node.poll("last")).workflow.workflow_id == outer


async def test_nothing_overtakes_the_sends_that_a_node_finds_at_its_start(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("inner", 1))
        await node.register(workflow("outer", child("c", "inner"), simple("after", "last")))
        outer = await node.start("outer", {"x": 1})
        polled = await node.poll("step")
    async with running(open_store, clock) as node:
        await node.report(polled)

    async with running(open_store, clock) as node:
        await node.engine.timers.read()

        # What is sent to this run now goes behind the row, not into the same transaction.
        assert outer in node.engine.committer.stored_targets


async def test_a_retry_that_waits_for_its_delay_comes_after_a_restart(
    open_store: OpenStore, clock: Clock
) -> None:
    tasks = [task_def("step", retryDelaySeconds=20)]
    async with running(open_store, clock) as node:
        await node.register(chain("one", 1), tasks=tasks)
        run = await node.start("one")
        await node.report(await node.poll("step"), status=TaskStatus.FAILED, reason="once")

    async with running(open_store, clock) as node:
        await node.advance(19_000)
        assert await node.polls_nothing("step")
        await node.advance(1_500)
        await node.report(await node.poll("step"))

        assert await node.status_of(run) is WorkflowStatus.COMPLETED


async def test_a_lease_kept_alive_by_heartbeats_does_not_end(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("one", 1), tasks=[task_def("step", responseTimeoutSeconds=30)])
        run = await node.start("one")
        held = await node.poll("step")

        for _ in range(4):
            await node.advance(20_000)
            await node.engine.extend_lease(run, held.task.task_id)

        await node.report(held)
        assert await node.status_of(run) is WorkflowStatus.COMPLETED


async def test_a_run_times_out_by_the_stores_clock(open_store: OpenStore, clock: Clock) -> None:
    definition = chain("slow", 1, timeoutSeconds=60, timeoutPolicy="TIME_OUT_WF")
    async with running(open_store, clock) as node:
        await node.register(definition)
        run = await node.start("slow")
        held = await node.poll("step")

        await node.advance(59_000)
        assert await node.status_of(run) is WorkflowStatus.RUNNING
        await node.advance(2_000)

        assert await node.status_of(run) is WorkflowStatus.TIMED_OUT
        assert (await node.report(held)).is_terminal


async def test_nothing_of_a_stopped_node_fires_any_more(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock, has_loops=True) as node:
        await node.register(workflow("waits", wait("pause", "1 seconds")))
        run = await node.start("waits")
        version = (await node.engine.get(run)).workflow.version
    timers = node.engine.timers
    clock.move(10_000)

    timers._ring()
    await turns()

    assert not timers._in_work
    assert timers._wake_handle is None
    async with running(open_store, clock) as another:
        assert (await another.engine.get(run)).workflow.version == version


async def test_a_loop_that_loses_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "ASK_AGAIN_S", 0.01)
    lost = 0

    async def loop(beat: Callable[[], None]) -> None:
        nonlocal lost
        while True:
            beat()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost += 1  # as asyncio.wait_for does in Python 3.11 when its future is done

    supervisor = Supervisor(lambda: 0)
    supervisor.start("stubborn", loop)
    await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await supervisor.stop()

    assert lost == 1
