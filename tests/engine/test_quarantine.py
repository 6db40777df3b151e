"""Rows whose command fails: tried again by their own back-off, quarantined, re-armed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from batuta.core.decide import decide
from batuta.model.change import Send
from batuta.model.command import (
    ChildEnded,
    ExpireLease,
    FireTimer,
    LogTask,
    PauseWorkflow,
    RetryWorkflow,
)
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.quarantine.backoff import BACK_OFF_MS, FAILURES_MAX
from batuta.runtime.why.cause import Code
from batuta.runtime.why.collect import why
from batuta.store.base import PendingSend
from batuta.store.failing import LEASE, SEND
from batuta.store.memory import MemoryStore
from batuta.store.memory.rows import State
from batuta.testing.builders import batch, step
from tests.engine.definitions import Document, chain, child, simple, task_def, wait, workflow
from tests.engine.node import LIMIT_S, Clock, Node, OpenStore, running, turns

COMPLETED = WorkflowStatus.COMPLETED
RUNNING = WorkflowStatus.RUNNING


def refusing(is_poison: Callable[[Any], bool]) -> Callable[..., Any]:
    """Return a ``decide`` with a bug: it raises for some commands."""

    def deciding(execution: Any, command: Any, **named: Any) -> Any:
        if is_poison(command):
            raise RuntimeError("planted")
        return decide(execution, command, **named)

    return deciding


def fork(*branches: Document) -> list[Document]:
    """Return a fork over tasks and the JOIN that waits for all of them."""
    names = [branch["taskReferenceName"] for branch in branches]
    return [
        {
            "name": "f",
            "taskReferenceName": "f",
            "type": "FORK_JOIN",
            "forkTasks": [[branch] for branch in branches],
        },
        {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": names},
    ]


async def fail_out(node: Node) -> None:
    """Let time pass until whatever fails has failed for the last time."""
    for _ in range(FAILURES_MAX):
        await node.advance(BACK_OFF_MS << FAILURES_MAX)


async def quarantined(node: Node) -> list[tuple[str, str]]:
    """Return the runs and kinds of what is quarantined."""
    rows = await node.engine.quarantine.rows()
    return [(row.workflow_id, row.kind) for row in rows if row.retry_at_ms is None]


async def waiting_run(node: Node) -> str:
    """Start a run that waits for two seconds."""
    await node.register(workflow("waits", wait("pause", "2 seconds")))
    return await node.start("waits")


async def test_a_quarantined_timer_stays_so_over_a_restart_until_it_is_re_armed(
    open_store: OpenStore, clock: Clock
) -> None:
    poison = refusing(lambda command: isinstance(command, FireTimer))
    async with running(open_store, clock, deciding=poison) as node:
        run = await waiting_run(node)
        await fail_out(node)
        assert await quarantined(node) == [(run, "WAIT")]

    async with running(open_store, clock) as node:
        await node.advance(60_000)
        assert await node.status_of(run) is RUNNING
        cause = (await why(node.engine, run)).causes[0]
        assert (cause.code, cause.reference) == (Code.QUARANTINED, "pause")
        assert (await node.engine.status()).quarantined_count == 1

        assert await node.engine.quarantine.rearm(run) == 1
        await node.look_for_due()

        assert await node.status_of(run) is COMPLETED
        assert await node.engine.quarantine.rows() == []


async def test_a_restart_goes_on_with_the_count_and_the_back_off(
    open_store: OpenStore, clock: Clock
) -> None:
    poison = refusing(lambda command: isinstance(command, FireTimer))
    async with running(open_store, clock, deciding=poison) as node:
        run = await waiting_run(node)
        await node.advance(3_000)
        [first] = await node.engine.quarantine.rows(run)
        assert first.attempts == 1

    async with running(open_store, clock, deciding=poison) as node:
        await node.look_for_due()
        assert await node.engine.quarantine.rows(run) == [first], "its back-off is not over"
        await node.advance(BACK_OFF_MS)
        [second] = await node.engine.quarantine.rows(run)
        assert second.attempts == 2
        assert second.retry_at_ms is not None
        assert first.retry_at_ms is not None
        assert second.retry_at_ms - clock.now_ms() <= 2 * BACK_OFF_MS


async def test_what_has_failed_once_and_then_succeeds_leaves_nothing(
    open_store: OpenStore, clock: Clock
) -> None:
    left = [2]

    def is_poison(command: Any) -> bool:
        left[0] -= isinstance(command, FireTimer)
        return isinstance(command, FireTimer) and left[0] >= 0

    async with running(open_store, clock, deciding=refusing(is_poison)) as node:
        run = await waiting_run(node)
        await fail_out(node)

        assert await node.status_of(run) is COMPLETED
        assert await node.engine.quarantine.rows() == []


async def test_a_lease_whose_end_fails_is_quarantined_and_its_holder_may_still_report(
    open_store: OpenStore, clock: Clock
) -> None:
    poison = refusing(lambda command: isinstance(command, ExpireLease))
    async with running(open_store, clock, deciding=poison) as node:
        await node.register(chain("one", 1), tasks=[task_def("step", responseTimeoutSeconds=5)])
        run = await node.start("one")
        polled = await node.poll("step")
        await fail_out(node)

        assert await quarantined(node) == [(run, LEASE)]
        await node.report(polled)
        assert await node.status_of(run) is COMPLETED
        assert await node.engine.quarantine.rows() == []


async def two_children(node: Node) -> tuple[str, dict[str, str]]:
    """Start a run with two sub-workflows and a task side by side; return it and the children."""
    await node.register(chain("inner", 1))
    branches = [child("c0", "inner"), child("c1", "inner"), simple("own", "own")]
    await node.register(workflow("outer", *fork(*branches)))
    outer = await node.start("outer", {"x": 1})
    names = ("c0", "c1")
    return outer, {name: (await node.task(outer, name)).task.child_id or "" for name in names}


async def test_a_poison_message_holds_up_neither_its_run_nor_what_others_send_to_it(
    open_store: OpenStore, clock: Clock
) -> None:
    poisoned: set[str] = set()
    poison = refusing(
        lambda command: isinstance(command, ChildEnded) and command.child_id in poisoned
    )
    async with running(open_store, clock, deciding=poison) as node:
        outer, children = await two_children(node)
        poisoned.add(children["c0"])
        tasks = {one.workflow.workflow_id: one for one in await node.engine.poll("step", count=2)}

        await node.report(tasks[children["c0"]])
        await fail_out(node)
        assert await quarantined(node) == [(outer, SEND)]

        await node.report(tasks[children["c1"]])
        await node.look_for_due()
        assert (await node.task(outer, "c1")).task.status is TaskStatus.COMPLETED
        await node.report(await node.poll("own"))
        assert (await node.task(outer, "own")).task.status is TaskStatus.COMPLETED
        assert (await node.task(outer, "c0")).task.status is TaskStatus.IN_PROGRESS
        codes = [cause.code for cause in (await why(node.engine, outer)).causes]
        assert codes[0] is Code.QUARANTINED

    async with running(open_store, clock) as node:
        await node.look_for_due()
        assert await node.status_of(outer) is RUNNING
        assert await node.engine.quarantine.rearm() == 1
        await node.look_for_due()
        assert await node.status_of(outer) is COMPLETED


async def test_what_waited_behind_a_quarantined_message_comes_after_it(
    open_store: OpenStore, clock: Clock
) -> None:
    poison = refusing(lambda command: isinstance(command, ChildEnded))
    async with running(open_store, clock, deciding=poison) as node:
        await node.register(chain("inner", 1))
        await node.register(workflow("outer", child("c", "inner")))
        outer = await node.start("outer")
        inner = (await node.task(outer, "c")).task.child_id or ""
        await node.report(await node.poll("step"), status=TaskStatus.FAILED_WITH_TERMINAL_ERROR)
        await fail_out(node)
        assert await quarantined(node) == [(outer, SEND)]

    async with running(open_store, clock) as node:
        # The child runs again: its parent must hear of that after the end it has not heard of.
        await node.engine.control(RetryWorkflow(workflow_id=inner))
        await node.look_for_due()
        assert (await node.task(outer, "c")).task.status is TaskStatus.IN_PROGRESS
        await node.engine.quarantine.rearm()
        for _ in range(3):
            await node.look_for_due()

        assert await node.status_of(outer) is RUNNING
        assert (await node.task(outer, "c")).task.status is TaskStatus.IN_PROGRESS
        await node.report(await node.poll("step"), {"n": 2})
        await node.look_for_due()
        assert await node.status_of(outer) is COMPLETED
        kinds = [row.entry.kind for row in await read_journal(node, outer)]
        assert kinds == ["start", "child_ended", "revive", "child_ended"]


async def read_journal(node: Node, workflow_id: str) -> list[Any]:
    """Return a run's journal."""
    found: list[Any] = await node.store.read_after(0, limit=100, workflow_id=workflow_id)
    return found


async def test_a_message_in_place_does_not_overtake_one_that_another_node_has_stored(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("inner", 1))
        await node.register(workflow("outer", child("c", "inner"), simple("after", "last")))
        outer = await node.start("outer")
        inner = (await node.task(outer, "c")).task.child_id or ""
        polled = await node.poll("step")
    async with running(open_store, clock) as node:
        # As another node would: the child has a message for its parent, which nobody here knows.
        version = (await node.store.load([(inner, 0)]))[inner].workflow.version
        earlier = step(inner, version, Send(PauseWorkflow(outer)), at_ms=clock.now_ms())
        await node.store.commit(batch(earlier, now_ms=clock.now_ms()))
        waiting = (await node.task(outer, "c")).task.task_id
        line = LogTask(workflow_id=outer, task_id=waiting, line="brings the run into memory")
        await node.engine.committer.submit(line)

        await node.report(polled)
        for _ in range(3):
            await node.look_for_due()

        kinds = [row.entry.kind for row in await read_journal(node, outer)]
        assert kinds == ["start", "log", "pause", "child_ended"]
        assert await node.status_of(inner) is COMPLETED


async def test_a_message_that_nobody_can_read_is_quarantined_at_once(clock: Clock) -> None:
    state = State()

    async def open_store() -> Any:
        return MemoryStore(clock.now_ms, state=state)

    async with running(open_store, clock) as node:
        run, other = await waiting_run(node), await waiting_run(node)
        state.send_id_last = 1
        state.senders[1] = other
        state.sends[1] = PendingSend(send_id=1, workflow_id=run, document=b'{"type":"from later"}')

        await node.advance(3_000)

        assert await quarantined(node) == [(run, SEND)]
        assert await node.status_of(other) is COMPLETED


@pytest.mark.parametrize("store_name", [pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_two_nodes_share_what_failed_and_either_re_arms_it(
    open_store: OpenStore, clock: Clock
) -> None:
    is_broken = [True]
    poison = refusing(lambda command: is_broken[0] and isinstance(command, FireTimer))
    async with (
        running(open_store, clock, deciding=poison, node="a") as first,
        running(open_store, clock, deciding=poison, node="b") as second,
    ):
        run = await waiting_run(first)
        attempts = []
        for _ in range(FAILURES_MAX):
            clock.move(BACK_OFF_MS << FAILURES_MAX)
            await first.look_for_due()
            await second.look_for_due()
            attempts.append([row.attempts for row in await second.engine.quarantine.rows()])

        assert attempts == [[1], [2], [3], [4], [5]], "they fail together, not each on its own"
        for node in (first, second):
            assert (await why(node.engine, run)).causes[0].code is Code.QUARANTINED
        is_broken[0] = False
        assert await second.engine.quarantine.rearm() == 1
        await first.look_for_due()
        assert await second.status_of(run) is COMPLETED


async def test_a_node_that_is_hinted_at_as_it_stops_stops(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock, has_loops=True) as node:
        await turns()

        assert await node.engine.quarantine.rearm() == 0
        async with asyncio.timeout(LIMIT_S):
            await node.engine.stop()
