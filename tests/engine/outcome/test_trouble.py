"""A store in trouble: unknown outcomes, poison decisions, and a node that drains."""

import asyncio
from typing import Any

import pytest

from batuta.core.decide import decide
from batuta.model.command import FireTimer, LogTask
from batuta.model.error import ClosingError, NotFoundError, StoreError
from batuta.model.execution import TaskStatus, WorkflowStatus
from tests.engine.definitions import chain, wait, workflow
from tests.engine.node import LIMIT_S, Clock, Counting, Node, OpenStore, report_of, running, turns
from tests.engine.outcome.faulty import Faulty, has_decisions, once, runs_of

COMPLETED = WorkflowStatus.COMPLETED


WHEN = pytest.mark.parametrize("when", ["fails_before", "fails_after"])


@WHEN
async def test_a_start_of_unknown_outcome_happens_once(node: Node, when: str) -> None:
    setattr(node.store, when, once(has_decisions))
    node.store.fails_settled = 1

    workflow_id = await node.start("one")

    assert (await node.engine.get(workflow_id)).workflow.version == 1
    assert sum((await node.store.counts()).values()) == 1
    assert len(await node.engine.poll("step", count=5, wait_ms=0)) == 1


@WHEN
async def test_a_report_of_unknown_outcome_counts_once(node: Node, when: str) -> None:
    workflow_id = await node.start("two")
    polled = await node.poll("step")
    setattr(node.store, when, once(has_decisions))

    updated = await node.report(polled, {"n": 1})

    assert updated.is_terminal
    run = await node.engine.get(workflow_id)
    assert run.workflow.version == 2
    assert [view.task.status for view in run.tasks] == [TaskStatus.COMPLETED, TaskStatus.SCHEDULED]
    await node.report(await node.poll("step"))
    assert await node.status_of(workflow_id) is COMPLETED


@WHEN
async def test_a_waiting_poller_gets_its_task_though_the_outcome_was_unknown(
    node: Node, when: str
) -> None:
    await node.polls_nothing("step")
    poller = asyncio.create_task(node.poll("step"))
    await turns()
    setattr(node.store, when, once(has_decisions))

    workflow_id = await node.start("one")

    polled = await poller
    assert polled.workflow.workflow_id == workflow_id
    await node.report(polled)
    assert await node.status_of(workflow_id) is COMPLETED


@WHEN
async def test_update_and_poll_of_unknown_outcome_gives_the_next_task_once(
    node: Node, when: str
) -> None:
    await node.start("two")
    polled = await node.poll("step")
    await node.polls_nothing("step")
    setattr(node.store, when, once(has_decisions))

    # It may come back empty-handed, as any poll may; then the task is ready for the next poll.
    following = await node.engine.update_and_poll(report_of(polled))
    if following is None:
        following = await node.poll("step")

    assert following.task.reference_name == "s1"
    assert await node.polls_nothing("step")


@WHEN
async def test_commands_behind_an_unknown_outcome_follow_in_their_order(
    node: Node, when: str
) -> None:
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    setattr(node.store, when, once(has_decisions))

    task_id = polled.task.task_id
    logs = [LogTask(workflow_id=workflow_id, task_id=task_id, line=str(n)) for n in range(4)]
    futures = [node.engine.committer.submit(logs[0])]
    await turns(2)
    futures += [node.engine.committer.submit(log) for log in logs[1:]]
    await asyncio.gather(*futures)

    assert [found.line for found in await node.engine.logs(task_id)] == ["0", "1", "2", "3"]
    assert (await node.engine.get(workflow_id)).workflow.version == 5


async def test_a_claim_that_failed_is_asked_for_again(node: Node) -> None:
    workflow_id = await node.start("one")
    node.store.fails_before = once()

    polled = await node.poll("step")

    assert polled.workflow.workflow_id == workflow_id


async def test_a_store_that_goes_on_failing_is_not_asked_in_a_spin(node: Node) -> None:
    failures = []
    node.store.fails_before = lambda batch: failures.append(batch) is None
    waiting = asyncio.get_running_loop().create_task(node.engine.poll("step", wait_ms=300))

    assert await waiting == []

    assert 2 <= len(failures) <= 10


async def test_a_task_is_given_back_though_the_store_failed_once(node: Node) -> None:
    await node.start("one")
    polled = await node.poll("step")
    node.store.fails_before = once(lambda batch: bool(batch.touches))

    await node.engine.give_back([polled])

    again = await node.poll("step")
    assert again.task.task_id == polled.task.task_id


@WHEN
async def test_a_heartbeat_outlives_a_failed_commit(node: Node, when: str) -> None:
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    node.clock.move(1_000)
    setattr(node.store, when, once(lambda batch: bool(batch.touches)))

    await node.engine.extend_lease(workflow_id, polled.task.task_id)

    [lease] = (await node.store.load([(workflow_id, 0)]))[workflow_id].leases
    assert lease.expires_at_ms > polled.lease.expires_at_ms


async def test_a_poison_run_is_refused_and_hurts_nobody_else(node: Node) -> None:
    poison = await node.start("one")
    bad = await node.poll("step")
    good = await node.start_in_order("one", 10)
    held = await node.engine.poll("step", count=10, wait_ms=0)
    node.store.fails_before = lambda batch: poison in runs_of(batch)

    reports = [node.report(bad), *(node.report(one) for one in held)]
    beats = [
        node.engine.extend_lease(one.workflow.workflow_id, one.task.task_id) for one in held[:3]
    ]
    answers = await asyncio.gather(*reports, *beats, node.start("one"), return_exceptions=True)

    assert isinstance(answers[0], StoreError)
    assert [answer for answer in answers[1:] if isinstance(answer, Exception)] == []
    assert {await node.status_of(run) for run in good} == {COMPLETED}
    assert (await node.engine.get(poison)).workflow.version == 1
    assert (await node.poll("step")).workflow.workflow_id == answers[-1]


async def test_a_run_that_was_poison_goes_on_when_it_is_one_no_more(node: Node) -> None:
    run = await node.start("one")
    polled = await node.poll("step")
    node.store.fails_before = lambda batch: run in runs_of(batch)
    with pytest.raises(StoreError):
        await node.report(polled)

    node.store.fails_before = lambda _batch: False
    await node.report(polled)

    assert await node.status_of(run) is COMPLETED


async def test_a_draining_node_refuses_starts_and_answers_waiting_polls_empty(node: Node) -> None:
    await node.polls_nothing("step")
    poller = asyncio.create_task(node.engine.poll("step", wait_ms=60_000))
    await turns()

    await node.engine.stop()

    assert await poller == []
    assert await node.engine.poll("step", wait_ms=60_000) == []
    with pytest.raises(ClosingError):
        await node.start("one")


async def test_a_draining_node_finishes_the_updates_in_flight(node: Node) -> None:
    runs = await node.start_in_order("one", 5)
    held = await node.engine.poll("step", count=5, wait_ms=0)
    node.store.gate.clear()
    reports = [asyncio.create_task(node.report(one)) for one in held]
    await turns()

    stopping = asyncio.create_task(node.engine.stop())
    await turns()
    assert not stopping.done()
    node.store.gate.set()
    await stopping

    assert all(report.done() for report in reports)
    assert {await node.status_of(run) for run in runs} == {COMPLETED}


async def test_an_update_and_poll_while_draining_is_an_update_alone(node: Node) -> None:
    workflow_id = await node.start("two")
    polled = await node.poll("step")
    await node.polls_nothing("step")  # so that the next task could be handed out directly
    node.engine.drain()

    assert await node.engine.update_and_poll(report_of(polled, {"n": 1})) is None

    assert (await node.task(workflow_id, "s0")).task.status is TaskStatus.COMPLETED
    [depth] = await node.store.queues()
    assert (depth.ready, depth.leased) == (1, 0)


async def test_a_bug_in_deciding_fails_one_command_and_no_other(
    open_store: OpenStore, clock: Clock
) -> None:
    broken: set[str] = set()

    def deciding(execution: Any, command: Any, **named: Any) -> Any:
        if command.workflow_id in broken:
            raise RuntimeError("planted")
        return decide(execution, command, **named)

    async with running(open_store, clock, deciding=deciding) as node:
        await node.register(chain("one", 1))
        runs = await node.start_in_order("one", 4)
        held = await node.engine.poll("step", count=4, wait_ms=0)
        broken.add(runs[0])

        reports = (node.report(one) for one in held)
        answers = await asyncio.gather(*reports, return_exceptions=True)

        assert [type(answer) for answer in answers].count(RuntimeError) == 1
        assert [await node.status_of(run) for run in runs[1:]] == [COMPLETED] * 3
        broken.clear()
        await node.report(held[0])
        assert await node.status_of(runs[0]) is COMPLETED


async def test_a_timer_whose_decision_fails_is_quarantined_and_the_others_fire(
    open_store: OpenStore, clock: Clock
) -> None:
    def deciding(execution: Any, command: Any, **named: Any) -> Any:
        if isinstance(command, FireTimer) and command.workflow_id == broken:
            raise RuntimeError("planted")
        return decide(execution, command, **named)

    async with running(open_store, clock, deciding=deciding) as node:
        await node.register(workflow("waits", wait("pause", "2 seconds")))
        broken, *others = await node.start_in_order("waits", 3)

        await node.advance(3_000)
        assert [await node.status_of(run) for run in others] == [COMPLETED] * 2
        for _ in range(6):
            await node.advance(60_000)

        [row] = await node.engine.quarantine.rows()
        assert (row.workflow_id, row.attempts, row.retry_at_ms) == (broken, 5, None)
        assert await node.status_of(broken) is WorkflowStatus.RUNNING


async def test_a_poll_of_a_store_in_trouble_ends_when_its_time_is_over(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock, wrap=Faulty, trouble_wait_s=LIMIT_S * 2) as node:
        node.store.fails_before = lambda _batch: True
        node.store.fails_settled = 1_000_000

        async with asyncio.timeout(LIMIT_S):
            assert await node.polls_nothing("step")


class Forgetful(Counting):
    """A store that has lost the snapshots of some definitions."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.lost: set[str] = set()

    async def get_snapshot(self, digest: str) -> bytes | None:
        """Return a snapshot, unless it is lost."""
        body: bytes | None = await self._store.get_snapshot(digest)
        return None if digest in self.lost else body


async def test_a_run_that_cannot_be_read_holds_up_none_that_is_read_with_it(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("lost", 1, "a"), chain("sound", 1, "b"))
        ids = [await node.start(name) for name in ("lost", "sound")]
        polled = [await node.poll(task_type) for task_type in ("a", "b")]
    async with running(open_store, clock, wrap=Forgetful) as node:
        run = (await node.store.load([(ids[0], 0)]))[ids[0]]
        node.store.lost.add(run.workflow.definition)

        lost, sound = await asyncio.gather(*map(node.report, polled), return_exceptions=True)

        assert isinstance(lost, NotFoundError)
        assert not isinstance(sound, BaseException)
        assert await node.status_of(ids[1]) is COMPLETED
