"""The relay: everything at least once, in order, from where it left off; no run waits for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from batuta.model.command import DeleteWorkflow, RestartWorkflow
from batuta.model.execution import TaskStatus
from batuta.runtime.clock import StoreClock, pause
from batuta.sinks.base import OMITTED, RECORD_BYTES_MAX, Record, SinkError, body_of
from batuta.sinks.passage import Passage
from batuta.sinks.relay import BATCH_ROWS, LEASE_MS, Relay
from batuta.store.memory import MemoryStore
from batuta.testing.sink import Arrived
from tests.engine.node import Clock, Node, running
from tests.sinks.places import ListSink, as_arrived

LIMIT_S = 20  # of any wait; only a hang comes near it
WORK = {"name": "work", "taskReferenceName": "work", "type": "SIMPLE", "retryCount": 0}
ONE = {"name": "one", "tasks": [WORK]}


class Watched(ListSink):
    """A list whose reader can wait for what comes; it fails when it is told to."""

    def __init__(self, arrived: list[Arrived] | None = None) -> None:
        super().__init__([] if arrived is None else arrived)
        self.has_come = asyncio.Event()
        self.failures: list[int] = []  # of the next deliveries: how many records get through

    async def deliver(self, records: Sequence[Record]) -> None:
        """Append all, or only a beginning."""
        if self.failures:
            got_through = self.failures.pop(0)
            await super().deliver(records[:got_through])
            raise SinkError("away")
        await super().deliver(records)
        self.has_come.set()

    async def has(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many different ones are there; return what they say, in order."""
        async with asyncio.timeout(LIMIT_S):
            while len({one.record_id for one in self.arrived}) < count:
                self.has_come.clear()
                await self.has_come.wait()
        firsts = {one.record_id: one.body for one in reversed(self.arrived)}
        order = dict.fromkeys(one.record_id for one in self.arrived)
        return [json.loads(firsts[record_id]) for record_id in order]


class Counted(MemoryStore):
    """Counts the looks into the journal."""

    looks = 0

    async def read_after(self, *arguments: Any, **more: Any) -> Any:
        """Count, and read."""
        self.looks += 1
        return await super().read_after(*arguments, **more)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what happens in another task."""
    async with asyncio.timeout(LIMIT_S):
        while not is_so():
            await pause(0.005)


def relay_of(on: Node, sink: ListSink, **settings: Any) -> Relay:
    """Return a relay of a node's journal."""
    given = {"cursor": "test", "node": "n", "tellers": {}, "lag_max": 10**6}
    return Relay(sink, on.store, now_ms=on.clock.now_ms, **(given | settings))


@asynccontextmanager
async def relaying(on: Node, sink: ListSink, **settings: Any) -> AsyncIterator[Relay]:
    """Give a relay that runs."""
    relay = relay_of(on, sink, **settings)
    await relay.begin()
    on.engine.listeners.append(relay.hint)
    task = asyncio.create_task(relay.run(lambda: None))
    try:
        yield relay
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    clock = Clock()

    async def memory() -> Any:
        return Counted(StoreClock().now_ms)

    async with running(memory, clock) as found:
        await found.register(ONE)
        yield found


async def done(node: Node, count: int = 1) -> list[str]:
    """Run workflows of one task to their ends."""
    started = [await node.start("one") for _ in range(count)]
    await node.work("work", count)
    return started


def words(told: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is told in short."""
    return [f"{one.get('referenceTaskName', 'run')} {one['status']}" for one in told]


PATH = ["run RUNNING", "work SCHEDULED", "work COMPLETED", "run COMPLETED"]


async def test_the_changes_of_statuses_of_a_run_are_told_in_order(node: Node) -> None:
    sink = Watched()
    async with relaying(node, sink):
        [workflow_id] = await done(node)
        told = await sink.has(4)

    assert words(told) == PATH
    assert {one["workflowId"] for one in told} == {workflow_id}
    assert {one.key for one in sink.arrived} == {workflow_id}
    run = await node.engine.get(workflow_id)
    assert told[2] == {
        "type": "TASK_STATUS",
        "workflowId": workflow_id,
        "workflowName": "one",
        "taskId": run.tasks[0].task.task_id,
        "referenceTaskName": "work",
        "taskType": "work",
        "status": "COMPLETED",
        "retryCount": 0,
        "iteration": 0,
        "updateTime": run.workflow.ended_at_ms,
    }
    assert told[3] == {
        "type": "WORKFLOW_STATUS",
        "workflowId": workflow_id,
        "workflowName": "one",
        "workflowVersion": 1,
        "status": "COMPLETED",
        "updateTime": run.workflow.ended_at_ms,
    }


async def test_a_failure_is_told_with_its_reason(node: Node) -> None:
    sink = Watched()
    async with relaying(node, sink):
        await node.start("one")
        failed = TaskStatus.FAILED_WITH_TERMINAL_ERROR
        await node.report(await node.poll("work"), status=failed, reason="no way")
        told = await sink.has(4)

    assert words(told)[2:] == ["work FAILED_WITH_TERMINAL_ERROR", "run FAILED"]
    assert told[2]["reasonForIncompletion"] == "no way"
    assert "no way" in told[3]["reasonForIncompletion"]


async def test_after_a_restart_it_goes_on_where_it_left_off(node: Node) -> None:
    sink = Watched()
    async with relaying(node, sink):
        await done(node)
        await sink.has(4)
    await done(node)

    later = Watched()
    async with relaying(node, later):
        assert words(await later.has(4)) == PATH
    assert len(sink.arrived) == 4, "what was delivered is not delivered again after a clean stop"


async def test_what_is_committed_while_the_sink_fails_comes_later_and_in_order(node: Node) -> None:
    sink = Watched()
    sink.failures = [0, 1, 3]
    async with relaying(node, sink) as relay:
        await done(node, 3)
        told = await sink.has(12)
        facts = relay.facts()

    assert len(sink.arrived) > 12, "what had got through came again"
    for workflow_id in {one["workflowId"] for one in told}:
        assert words([one for one in told if one["workflowId"] == workflow_id]) == PATH
    assert (facts["failures"], facts["lastError"], facts["lag"]) == (3, None, 0)


async def test_more_than_one_batch_is_told_whole(node: Node) -> None:
    sink = Watched()
    relay = relay_of(node, sink)
    await relay.begin()
    count = BATCH_ROWS  # runs; each has more than one entry
    await done(node, count)
    async with relaying(node, sink):
        told = await sink.has(count * 4)

    assert len(told) == len(sink.arrived) == count * 4


async def test_who_is_too_far_behind_gets_one_record_of_the_gap(node: Node) -> None:
    sink = Watched()
    await relay_of(node, sink).begin()
    await done(node, 5)
    end = await node.store.cursors.journal_end()

    async with relaying(node, sink, lag_max=2) as relay:
        told = await sink.has(3)
        assert relay.facts()["gaps"] == 1

    assert told[0] == {"type": "GAP", "fromPosition": 1, "toPosition": end - 2}
    assert [one["type"] for one in told].count("GAP") == 1
    assert all(int(one.record_id.split("-")[0]) > end - 2 for one in sink.arrived[1:])
    assert sink.arrived[0].key == ""


async def test_an_entry_that_cannot_be_told_keeps_no_other_from_being_told(node: Node) -> None:
    async def tell(passage: Passage) -> list[bytes]:
        if passage.row.position == 2:
            raise ValueError("damaged")
        return [body_of({"status": passage.row.entry.kind})]

    sink = Watched()
    async with relaying(node, sink, tellers={"": tell}):
        [workflow_id] = await done(node)
        await done(node)
        told = await sink.has(4)

    assert {"type": "UNTOLD", "workflowId": workflow_id} in told
    assert len(told) == 4


async def test_a_run_that_is_gone_is_told_by_its_journal(node: Node) -> None:
    sink = Watched()
    await relay_of(node, sink).begin()
    [gone] = await done(node)
    await node.engine.control(DeleteWorkflow(workflow_id=gone))
    [there] = await done(node)

    async with relaying(node, sink):
        told = await sink.has(8)

    for workflow_id in (gone, there):
        assert words([one for one in told if one["workflowId"] == workflow_id]) == PATH


async def test_tasks_that_were_retired_since_are_told(node: Node) -> None:
    sink = Watched()
    await relay_of(node, sink).begin()
    [workflow_id] = await done(node)
    await node.engine.control(RestartWorkflow(workflow_id=workflow_id))
    await node.work("work", 1)

    async with relaying(node, sink):
        told = await sink.has(8)

    assert words(told) == [*PATH, "work SCHEDULED", "run RUNNING", *PATH[2:]]
    assert len({one["taskId"] for one in told if "taskId" in one}) == 2


async def test_no_write_is_made_for_a_sink_that_has_nothing_to_do(node: Node) -> None:
    sink = Watched()
    async with relaying(node, sink) as relay:
        await done(node)
        await sink.has(4)
        state = node.store.state.cursors
        await until(lambda: state["test"].position == relay.facts()["position"])
        before, looks = dict(state), node.store.looks
        for count in range(1, 4):
            relay.hint()
            await until(lambda wanted=looks + count: node.store.looks >= wanted)
        assert state == before
        assert state["test"] is before["test"]


class Shared(MemoryStore):
    """One of two nodes' views of the same data."""

    is_shared = True


async def test_of_two_nodes_one_relays_and_the_other_takes_over() -> None:
    clock = Clock()
    first = Shared(StoreClock().now_ms)

    async def one() -> Any:
        return first

    async def two() -> Any:
        return Shared(StoreClock().now_ms, state=first.state)

    async with running(one, clock) as node, running(two, clock) as other:
        await node.register(ONE)
        sink, rival = Watched(), Watched()
        relay = relay_of(node, sink, node="a")
        await relay.begin()
        task = asyncio.create_task(relay.run(lambda: None))
        node.engine.listeners.append(relay.hint)
        waiting = relay_of(other, rival, node="b")
        await waiting.begin()
        assert not waiting.facts()["isHolder"]
        await done(node)
        await sink.has(4)
        await done(node)

        # The first node hangs: nothing is renewed, nothing is told any more.
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        [cursor] = await first.cursors.all()
        await first.cursors.move("test", "a", position=0, until_ms=clock.now_ms() + LEASE_MS)
        clock.move(LEASE_MS + 1)
        async with relaying(other, rival, node="b") as relay:
            told = await rival.has(8 - len(sink.arrived))
            assert relay.facts()["isHolder"]

    assert cursor.owner == "a"
    every = {one.record_id for one in [*sink.arrived, *rival.arrived]}
    assert len(every) == 8
    assert told


async def test_a_node_that_lost_its_cursor_delivers_no_more_until_it_has_it(node: Node) -> None:
    node.store.is_shared = True
    sink = Watched()
    async with relaying(node, sink, node="a") as relay:
        await done(node)
        await sink.has(4)
        end = await node.store.cursors.journal_end()
        node.clock.move(LEASE_MS + 1)  # it hung for so long, and another one was there
        await node.store.cursors.take(
            "test", "b", now_ms=node.clock.now_ms(), until_ms=node.clock.now_ms() + LEASE_MS
        )
        await node.store.cursors.move(
            "test", "b", position=end, until_ms=node.clock.now_ms() + LEASE_MS
        )
        await done(node)
        await until(lambda: not relay.facts()["isHolder"])

    assert len(sink.arrived) == 4
    [cursor] = await node.store.cursors.all()
    assert (cursor.owner, cursor.position) == ("b", end)


def test_a_value_that_makes_a_record_too_large_is_replaced_by_its_size() -> None:
    body = body_of({"type": "T", "output": "x" * RECORD_BYTES_MAX, "n": 1})

    assert json.loads(body) == {"type": "T", "output": {OMITTED: RECORD_BYTES_MAX + 2}, "n": 1}
    assert as_arrived(Record(position=1, index=0, workflow_id="w", body=body)).body == body
