"""Commits that are stored late, after the journal was asked for them (design 013)."""

import asyncio
from typing import Any

import pytest

from batuta.model.command import DeleteWorkflow, LogTask, UpdateTask
from batuta.model.error import NotFoundError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.commit.batch import ATTEMPTS_MAX
from batuta.store.base import Batch
from tests.engine.node import Node, report_of, turns
from tests.engine.outcome.faulty import has_decisions, once

COMPLETED = WorkflowStatus.COMPLETED


async def start_late(node: Node) -> "asyncio.Task[str]":
    """Begin to start a run; its first try is on its way, without a poller, and comes late."""
    await node.polls_nothing("step")
    node.store.comes_late = once(has_decisions)
    node.store.may_settle.clear()
    start = asyncio.create_task(node.start("one"))
    await node.store.has_late.wait()
    return start


async def test_a_task_that_an_earlier_try_has_put_into_its_queue_has_one_holder(
    node: Node,
) -> None:
    start = await start_late(node)
    poller = asyncio.create_task(node.poll("step"))
    await turns()
    node.store.fails_after = once(has_decisions)  # the second try finds the first one stored
    node.store.may_settle.set()

    workflow_id = await start

    polled = await poller
    assert polled.workflow.workflow_id == workflow_id
    [lease] = (await node.store.load([(workflow_id, 0)]))[workflow_id].leases
    assert lease == polled.lease, "what a poll was answered with is on disk"
    assert await node.engine.poll("step", count=5, wait_ms=0) == []
    await node.report(polled)
    assert await node.status_of(workflow_id) is COMPLETED


@pytest.mark.parametrize("is_late_at_load", [False, True])
async def test_a_give_back_that_was_stored_late_is_not_done_again(
    node: Node,
    is_late_at_load: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    node.store.is_late_at_load = is_late_at_load
    node.store.comes_late = once(has_decisions)

    updated = await node.report(polled, {"n": 1}, TaskStatus.IN_PROGRESS)

    assert not updated.is_terminal
    assert (await node.engine.get(workflow_id)).workflow.version == 2, "done twice it were 3"
    again = await node.poll("step")
    assert again.lease.poll_count == 2
    await node.report(again, {"n": 2})
    assert await node.status_of(workflow_id) is COMPLETED


async def test_what_came_with_a_give_back_that_was_stored_late_is_answered(node: Node) -> None:
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    node.store.is_late_at_load = True
    node.store.comes_late = once(has_decisions)
    back = node.report(polled, {"n": 1}, TaskStatus.IN_PROGRESS)
    line = LogTask(workflow_id=workflow_id, task_id=polled.task.task_id, line="beside it")

    await asyncio.gather(back, node.engine.control(line))

    assert (await node.engine.get(workflow_id)).workflow.version == 3
    [entry] = await node.engine.logs(polled.task.task_id)
    assert entry.line == "beside it"


async def test_a_report_behind_a_start_that_was_stored_late_is_about_what_is_stored(
    node: Node,
) -> None:
    start = await start_late(node)
    workflow_id, task_id = node.store.late_task()
    report = UpdateTask(workflow_id=workflow_id, task_id=task_id, status=TaskStatus.COMPLETED)
    reporting = asyncio.create_task(node.engine.update(report))
    await turns()
    node.clock.move(1)  # tried again, the start would give its task another id
    node.store.fails_after = once(has_decisions)
    node.store.may_settle.set()

    assert await start == workflow_id

    assert (await reporting).is_terminal
    assert await node.status_of(workflow_id) is COMPLETED


async def test_two_runs_that_are_read_again_after_an_error_are_looked_up_again(node: Node) -> None:
    runs = [await node.start("one"), await node.start("one")]
    polled = [await node.poll("step"), await node.poll("step")]
    node.store.comes_late = once(has_decisions)
    node.store.is_late_at_load = True
    node.store.loads_until_late = 1  # not the first one, whose second look into the journal fails
    node.store.settled_until_failure, node.store.fails_settled = 2, 1

    await asyncio.gather(*(node.report(one, {"n": 1}, TaskStatus.IN_PROGRESS) for one in polled))

    assert [(await node.engine.get(run)).workflow.version for run in runs] == [2, 2]


async def test_a_command_that_waits_for_a_payload_is_looked_up_where_its_run_was_read_anew(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    await node.report(polled, {"n": "x" * 100_000}, TaskStatus.IN_PROGRESS)
    polled = await node.poll("step")
    may_fetch, real = asyncio.Event(), node.engine._fetcher.fetch

    async def fetch(*given: Any) -> None:
        if node.store.has_late.is_set():
            await may_fetch.wait()
        await real(*given)

    monkeypatch.setattr(node.engine._fetcher, "fetch", fetch)
    node.store.comes_late = once(has_decisions)
    line = LogTask(workflow_id=workflow_id, task_id=polled.task.task_id, line="beside it")
    merged = report_of(polled, {"m": 1}, TaskStatus.IN_PROGRESS, is_merged=True)
    committer = node.engine.committer
    answers = [committer.submit(line), committer.submit(merged)]
    await node.store.has_late.wait()
    await turns(50)
    may_fetch.set()

    await asyncio.gather(*answers)

    assert (await node.engine.get(workflow_id)).workflow.version == 4


async def test_the_last_try_that_is_allowed_counts_when_it_is_stored(node: Node) -> None:
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    tries = [0]

    def fails_before(batch: Batch) -> bool:
        tries[0] += has_decisions(batch)
        return has_decisions(batch) and tries[0] < ATTEMPTS_MAX

    node.store.fails_before = fails_before
    node.store.fails_after = once(has_decisions)
    line = LogTask(workflow_id=workflow_id, task_id=polled.task.task_id, line="x")

    await node.engine.control(line)

    assert tries[0] == ATTEMPTS_MAX
    assert len(await node.engine.logs(polled.task.task_id)) == 1


@pytest.mark.parametrize("when", ["fails_after", "comes_late"])
async def test_a_report_and_a_removal_of_unknown_outcome_are_answered_as_they_are_stored(
    node: Node, when: str
) -> None:
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    if when == "fails_after":
        node.store.fails_before = once(has_decisions)
        node.store.fails_after = once(has_decisions)
    else:
        node.store.comes_late = once(has_decisions)
        node.store.is_late_at_load = True
    removal = DeleteWorkflow(workflow_id=workflow_id, must_have_ended=False)

    updated, _ = await asyncio.gather(node.report(polled, {"n": 1}), node.engine.control(removal))

    assert updated.is_terminal
    with pytest.raises(NotFoundError):
        await node.engine.get(workflow_id)
