"""A store in trouble: unknown outcomes, poison decisions, and a node that drains."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from batuta.core.decide import decide
from batuta.model.change import PutTask
from batuta.model.command import DeleteWorkflow, FireTimer, LogTask, UpdateTask
from batuta.model.error import ClosingError, NotFoundError, StoreError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.commit.batch import ATTEMPTS_MAX
from batuta.store.base import Batch, Committed
from tests.engine.definitions import chain, wait, workflow
from tests.engine.node import LIMIT_S, Clock, Counting, Node, OpenStore, report_of, running, turns

COMPLETED = WorkflowStatus.COMPLETED


class Faulty(Counting):
    """A store that fails some commits: before they are written, or after, or writes them late."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.fails_before: Callable[[Batch], bool] = lambda _batch: False
        self.fails_after: Callable[[Batch], bool] = lambda _batch: False
        self.comes_late: Callable[[Batch], bool] = lambda _batch: False
        self.fails_settled = 0
        self.settled_until_failure = 0  # answers before the first of those failures
        self.may_settle = asyncio.Event()
        self.may_settle.set()
        self.is_late_at_load = False  # what comes late is written before a run is read, too
        self.loads_until_late = 0
        self.has_late = asyncio.Event()
        self._late: list[Batch] = []

    async def commit(self, batch: Batch) -> Committed:
        """Write the batch, or not, and raise, or not."""
        if self.comes_late(batch):
            self._late.append(msgspec.structs.replace(batch, claims=[], touches=[]))
            self.has_late.set()
            raise StoreError("planned: the connection broke, and the batch is written later")
        if batch.decisions and self._late:
            await super().commit(self._late.pop())
        if self.fails_before(batch):
            raise StoreError("planned: nothing was written")
        committed: Committed = await super().commit(batch)
        if self.fails_after(batch):
            raise StoreError("planned: all was written")
        return committed

    def late_task(self) -> tuple[str, str]:
        """Return the run and the task of a start that is yet to be written."""
        [batch] = self._late
        [run] = batch.decisions[0].runs
        [task] = [change.task for change in run.changes if isinstance(change, PutTask)]
        return run.workflow_id, task.task_id

    async def load(self, known: Any) -> Any:
        """Read runs, after what was late for them, if so planned."""
        self.loads_until_late -= 1
        if self.is_late_at_load and self._late and self.loads_until_late < 0:
            await super().commit(self._late.pop())
        return await self._store.load(known)

    async def settled(self, wanted: Any) -> list[bool]:
        """Answer, after some failures, and not before it may."""
        await self.may_settle.wait()
        if self.settled_until_failure:
            self.settled_until_failure -= 1
        elif self.fails_settled:
            self.fails_settled -= 1
            raise StoreError("planned: no answer")
        answer: list[bool] = await self._store.settled(wanted)
        return answer


def once(applies: Callable[[Batch], bool] = lambda _batch: True) -> Callable[[Batch], bool]:
    """Fail the first batch to which this applies."""
    left = [1]

    def fails(batch: Batch) -> bool:
        if left[0] and applies(batch):
            left[0] = 0
            return True
        return False

    return fails


def has_decisions(batch: Batch) -> bool:
    return bool(batch.decisions)


def runs_of(batch: Batch) -> set[str]:
    return {run.workflow_id for decision in batch.decisions for run in decision.runs}


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    """Give a node on a store that fails when told to."""
    async with running(open_store, clock, wrap=Faulty) as node:
        await node.register(chain("one", 1), chain("two", 2))
        yield node


WHEN = pytest.mark.parametrize("when", ["fails_before", "fails_after"])


@WHEN
async def test_a_start_of_unknown_outcome_happens_once(node: Node, when: str) -> None:
    setattr(node.store, when, once(has_decisions))
    node.store.fails_settled = 1

    workflow_id = await node.start("one")

    assert (await node.engine.get(workflow_id)).workflow.version == 1
    assert sum((await node.store.counts()).values()) == 1
    assert len(await node.engine.poll("step", count=5, wait_ms=0)) == 1


async def test_a_task_that_an_earlier_try_has_put_into_its_queue_has_one_holder(
    node: Node,
) -> None:
    await node.polls_nothing("step")
    node.store.comes_late = once(has_decisions)
    node.store.may_settle.clear()
    start = asyncio.create_task(node.start("one"))
    await node.store.has_late.wait()  # its first try is on its way, without a poller
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
    await node.polls_nothing("step")
    node.store.comes_late = once(has_decisions)
    node.store.may_settle.clear()
    start = asyncio.create_task(node.start("one"))
    await node.store.has_late.wait()
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
