"""Pollers: in their order, answered at once, never with an empty commit, never leaking."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batuta.model.change import Enqueue, PutLease
from batuta.runtime.queues import FURTHER, Queue
from batuta.runtime.view import Polled
from tests.engine.definitions import chain, fork
from tests.engine.node import (
    LIMIT_S,
    WAIT_MS,
    Clock,
    Counting,
    Node,
    OpenStore,
    report_of,
    running,
    turns,
)


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    """Give a node whose store counts its calls."""
    async with running(open_store, clock, wrap=Counting) as node:
        yield node


async def polling(node: Node, count: int = 1, wait_ms: int = WAIT_MS) -> "asyncio.Task[list]":
    """Begin a poll of the queue ``step`` and return once it waits."""
    waiting = asyncio.create_task(node.engine.poll("step", count=count, wait_ms=wait_ms))
    queue = node.engine.committer.queues.get("step")
    before = len(queue.waiters)
    async with asyncio.timeout(LIMIT_S):
        while len(queue.waiters) == before and not waiting.done():
            await turns(1)
            await node.store.counts()  # gives the store's thread its turn
    return waiting


def queue_of(node: Node) -> Queue:
    return node.engine.committer.queues.get("step")


def written(node: Node, kind: type) -> list[Any]:
    """Return the changes of a kind that were handed to the store."""
    return [
        change
        for batch in node.store.batches
        for decision in batch.decisions
        for run in decision.runs
        for change in run.changes
        if isinstance(change, kind)
    ]


async def test_waiting_pollers_are_served_in_the_order_they_came(node: Node) -> None:
    await node.register(chain("one", 1))
    pollers = [await polling(node) for _ in range(3)]

    starts = [await node.start("one") for _ in range(3)]

    answers = await asyncio.gather(*pollers)
    assert [polled.workflow.workflow_id for [polled] in answers] == starts


async def test_an_empty_poll_touches_no_store(node: Node) -> None:
    assert await node.polls_nothing("step")  # the first one asks the table, once
    node.store.forget()

    for _ in range(100):
        assert await node.polls_nothing("step")
    assert await node.engine.poll("step", wait_ms=5) == []

    assert node.store.calls == {}


async def test_a_task_for_a_waiting_poller_is_leased_in_the_commit_that_makes_it(
    node: Node,
) -> None:
    await node.register(chain("one", 1))
    await node.start("one")
    await node.report(await node.poll("step"))
    poller = await polling(node)
    node.store.forget()

    workflow_id = await node.start("one")
    async with asyncio.timeout(LIMIT_S):
        [polled] = await poller

    assert polled.workflow.workflow_id == workflow_id
    assert node.store.calls == {"commit": 1}
    assert [list(batch.claims) for batch in node.store.batches] == [[]]
    assert [put.lease for put in written(node, PutLease)] == [polled.lease]
    assert written(node, Enqueue) == []


async def test_a_report_hands_the_next_task_to_a_waiting_poller_in_one_commit(node: Node) -> None:
    await node.register(chain("two", 2))
    await node.start("two")
    first = await node.poll("step")
    poller = await polling(node)
    node.store.forget()

    await node.report(first)
    [second] = await poller

    assert second.task.reference_name == "s1"
    assert node.store.calls == {"commit": 1}


async def test_a_batch_poll_is_answered_as_soon_as_one_task_is_there(node: Node) -> None:
    await node.register(chain("one", 1), fork("four", 4))
    poller = await polling(node, count=3)
    await node.start("one")
    assert len(await poller) == 1

    poller = await polling(node, count=3)
    await node.start("four")

    assert len(await poller) == 3
    assert len(await node.engine.poll("step", count=3, wait_ms=0)) == 1


async def test_tasks_of_one_commit_go_to_all_who_wait(node: Node) -> None:
    await node.register(fork("five", 5))
    pollers = [await polling(node, count=2) for _ in range(2)]
    node.store.forget()

    await node.start("five")
    answers = await asyncio.gather(*pollers)

    assert [[one.task.reference_name for one in found] for found in answers] == [
        ["b0", "b1"],
        ["b2", "b3"],
    ]
    assert len(written(node, Enqueue)) == 1


async def test_older_tasks_on_the_table_go_before_new_ones(node: Node) -> None:
    await node.register(chain("one", 1))
    starts = await node.start_in_order("one", 4)

    answers = await asyncio.gather(
        *(node.engine.poll("step", wait_ms=WAIT_MS) for _ in range(3)), node.start("one")
    )

    polled = [one.workflow.workflow_id for [one] in answers[:3]]
    assert polled == starts[:3]


async def test_a_poll_ends_empty_when_its_time_is_over(node: Node) -> None:
    poller = await polling(node, wait_ms=30)

    async with asyncio.timeout(LIMIT_S):
        assert await poller == []
    assert not queue_of(node).waiters


async def test_a_poll_abandoned_while_it_waits_takes_nothing(node: Node) -> None:
    await node.register(chain("one", 1))
    gone, there = await polling(node), await polling(node)

    gone.cancel()
    workflow_id = await node.start("one")

    [polled] = await there
    assert polled.workflow.workflow_id == workflow_id
    assert not queue_of(node).waiters


async def test_polls_abandoned_on_a_quiet_queue_are_forgotten(node: Node) -> None:
    pollers = [await polling(node) for _ in range(50)]

    for poller in pollers:
        poller.cancel()
    await asyncio.gather(*pollers, return_exceptions=True)

    assert not queue_of(node).waiters


async def abandoned(poller: "asyncio.Task[list[Polled]]", turns_before: int) -> bool:
    """Cancel a poll so many turns of the loop from now; False when it was answered before."""
    await turns(turns_before)
    poller.cancel()
    done = (await asyncio.gather(poller, return_exceptions=True))[0]
    return isinstance(done, asyncio.CancelledError)


@pytest.mark.parametrize("turns_before", [*range(12), 20, 40])
async def test_a_poll_abandoned_while_it_is_claimed_gives_its_task_back(
    node: Node, turns_before: int
) -> None:
    await node.register(chain("one", 1))
    await node.start("one")

    poller = asyncio.create_task(node.engine.poll("step", wait_ms=WAIT_MS))
    is_abandoned = await abandoned(poller, turns_before)

    if is_abandoned:
        polled = await node.poll("step")
        assert polled.lease.poll_count == 1
        await node.report(polled)
    depths = await node.store.queues()
    assert [(depth.ready, depth.leased) for depth in depths] == ([] if is_abandoned else [(0, 1)])


@pytest.mark.parametrize("turns_before", [*range(12), 20, 40])
async def test_a_poll_abandoned_while_it_is_granted_gives_its_task_back(
    node: Node, turns_before: int
) -> None:
    await node.register(chain("one", 1))
    poller = await polling(node)

    start = asyncio.create_task(node.start("one"))
    is_abandoned = await abandoned(poller, turns_before)
    await start

    if is_abandoned:
        polled = await node.poll("step")
        assert polled.lease.poll_count == 1
        await node.report(polled)
    depths = await node.store.queues()
    assert [(depth.ready, depth.leased) for depth in depths] == ([] if is_abandoned else [(0, 1)])


@pytest.mark.parametrize("turns_before", [*range(12), 20, 40])
async def test_an_abandoned_update_and_poll_is_an_update_and_gives_its_task_back(
    node: Node, turns_before: int
) -> None:
    await node.register(chain("two", 2))
    await node.start("two")
    first = await node.poll("step")

    caller = asyncio.create_task(node.engine.update_and_poll(report_of(first)))
    await turns(turns_before)
    caller.cancel()
    done = (await asyncio.gather(caller, return_exceptions=True))[0]
    await turns()

    if turns_before == 0 and not node.commits[1:]:
        return  # it had not begun
    if isinstance(done, asyncio.CancelledError):
        done = await node.poll("step")
    assert done.task.reference_name == "s1"
    assert done.lease.poll_count == 1


async def test_a_task_given_back_goes_to_the_next_who_waits(node: Node) -> None:
    await node.register(chain("one", 1))
    await node.start("one")
    polled = await node.poll("step")
    poller = await polling(node)

    await node.engine.give_back([polled])

    [again] = await poller
    assert again.task.task_id == polled.task.task_id


async def test_long_polls_beyond_the_limit_are_answered_empty(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batuta.runtime.queues.WAITERS_MAX", 2)
    pollers = [await polling(node) for _ in range(2)]

    assert await node.engine.poll("step", wait_ms=WAIT_MS) == []

    for poller in pollers:
        poller.cancel()
    await asyncio.gather(*pollers, return_exceptions=True)


async def test_one_pass_over_a_queue_with_many_pollers_makes_one_claim(node: Node) -> None:
    pollers = [await polling(node) for _ in range(20)]
    node.store.forget()

    await node.look_for_due()
    node.engine.committer.queues.recheck()
    await turns()

    assert sum(len(batch.claims) for batch in node.store.batches) == 1
    for poller in pollers:
        poller.cancel()
    await asyncio.gather(*pollers, return_exceptions=True)


async def test_a_task_nobody_hinted_at_is_found_by_the_pass_a_second(node: Node) -> None:
    await node.register(chain("one", 1))
    poller = await polling(node)
    async with running(_same(node), node.clock, node="other") as other:
        workflow_id = await other.start("one")

        node.engine.committer.queues.recheck()

        [polled] = await poller
        assert polled.workflow.workflow_id == workflow_id


async def test_of_a_long_line_one_asks_for_one_task(node: Node) -> None:
    await node.register(chain("one", 1))
    pollers = [await polling(node) for _ in range(30)]
    queue_of(node).may_have = True  # as while the pass of each second looks
    node.store.forget()

    await node.start("one")
    await asyncio.wait(pollers, return_when=asyncio.FIRST_COMPLETED)
    await node.start("one")  # with it, what the first task has caused is done

    assert sum(len(batch.claims) for batch in node.store.batches) <= 2 * (1 + FURTHER)
    for poller in pollers:
        poller.cancel()
    await asyncio.gather(*pollers, return_exceptions=True)


async def test_one_pass_serves_a_whole_line_when_there_is_enough(node: Node) -> None:
    await node.register(fork("ten", 10))
    pollers = [await polling(node) for _ in range(10)]
    async with running(_same(node), node.clock, node="other") as other:
        await other.start("ten")

        node.engine.committer.queues.recheck()
        async with asyncio.timeout(LIMIT_S):
            answers = await asyncio.gather(*pollers)

    assert len({polled.task.task_id for [polled] in answers}) == 10


async def test_many_workers_that_update_and_poll_cost_one_commit_a_step(node: Node) -> None:
    await node.register(chain("fifty", 50))

    async def lane() -> None:
        job: Polled | None = None
        while True:
            if job is None:
                [job] = await node.engine.poll("step", wait_ms=WAIT_MS)
            else:
                job = await node.engine.update_and_poll(report_of(job))

    lanes = [asyncio.create_task(lane()) for _ in range(30)]
    await turns()
    node.store.forget()

    workflow_id = await node.start("fifty")
    await node.until(lambda: node.commits.count(workflow_id) == 10)
    node.engine.committer.queues.hint("step")  # from outside: not one of its own tasks
    await node.until(lambda: node.commits.count(workflow_id) == 51)

    assert node.store.calls["commit"] <= 51 + 5
    assert sum(len(batch.claims) for batch in node.store.batches) <= 10
    for one in lanes:
        one.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)


def _same(node: Node) -> OpenStore:
    async def open_store() -> object:
        return _Unclosed(node.store)

    return open_store  # type: ignore[return-value]


class _Unclosed:
    """A store of another node that stays open when this one ends."""

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def close(self) -> None:
        """Stay open."""
