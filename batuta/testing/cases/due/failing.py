"""Rows whose command failed: back-off, quarantine, re-arming."""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from batuta.model.change import ClearTimer, RemoveWorkflow, Send, SetTimer
from batuta.model.command import PauseWorkflow, TimerKind
from batuta.store.base import Due, DueTimer
from batuta.store.failing import ERROR_CHARS_MAX, LEASE, SEND, Failing
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, put_task, step, task, timer
from batuta.testing.cases.subject import Subject, a_run, accept, poll, queued, touch

LATER_MS = NOW_MS + 10_000
LONG_AFTER_MS = NOW_MS + 10**9


def of_timer(workflow_id: str, **fields: Any) -> Failing:
    """Return the first failure of the run's own WAIT timer, tried again at LATER_MS."""
    defaults = {"kind": TimerKind.WAIT.value, "mark": NOW_MS, "attempts": 1, "error": "boom"}
    return Failing(workflow_id=workflow_id, **{**defaults, "retry_at_ms": LATER_MS, **fields})


async def a_failing_timer(store: Subject, **fields: Any) -> Failing:
    """Store a run whose timer has failed."""
    header = await a_run(store, timer(None))
    failing = of_timer(header.workflow_id, **fields)
    assert await store.note_failure(failing)
    return failing


async def a_send(store: Subject) -> tuple[str, int]:
    """Store a Send from one run to another; return its target and its id."""
    target = await a_run(store)
    await a_run(store, Send(PauseWorkflow(target.workflow_id)))
    [send] = [s for s in (await store.due(0, 99)).sends if s.workflow_id == target.workflow_id]
    return target.workflow_id, send.send_id


def nothing(due: Due) -> bool:
    """Tell whether nothing wants a command."""
    return not (due.timers or due.leases or due.sends or due.failing)


class FailingCases:
    """What a row keeps of its failures, and when it is due again."""

    async def test_a_timer_that_failed_is_due_when_its_back_off_is_over(
        self, store: Subject
    ) -> None:
        failing = await a_failing_timer(store)

        before = await store.due(LATER_MS - 1, 10)
        after = await store.due(LATER_MS, 10)

        assert nothing(before)
        assert (after.timers, after.failing) == ([], [failing])

    async def test_a_send_that_failed_is_due_with_its_document(self, store: Subject) -> None:
        target, send_id = await a_send(store)
        [sent] = (await store.due(0, 10)).sends
        failing = of_timer(target, kind=SEND, mark=send_id)

        assert await store.note_failure(failing)

        assert nothing(await store.due(LATER_MS - 1, 10))
        after = await store.due(LATER_MS, 10)
        assert (after.sends, after.failing) == ([sent], [failing])

    async def test_a_lease_whose_end_failed_is_due_when_its_back_off_is_over(
        self, store: Subject
    ) -> None:
        await queued(store)
        [lease] = await poll(store)
        run, name = lease.workflow_id, lease.task_id
        failing = of_timer(run, kind=LEASE, task_id=name, mark=lease.poll_count)

        assert await store.note_failure(failing)

        again = await store.due(LONG_AFTER_MS, 10)
        assert (again.leases, again.failing) == ([], [failing])

    async def test_a_heartbeat_lets_a_lease_end_as_if_it_had_never_failed(
        self, store: Subject
    ) -> None:
        await queued(store)
        [lease] = await poll(store)
        run, name = lease.workflow_id, lease.task_id
        failing = of_timer(run, kind=LEASE, task_id=name, mark=lease.poll_count, retry_at_ms=None)
        assert await store.note_failure(failing)

        assert await touch(store, lease)

        after = await store.due(LONG_AFTER_MS, 10)
        assert ([one.task_id for one in after.leases], after.failing) == ([name], [])
        assert await store.failing() == []

    async def test_a_quarantined_row_is_never_due_and_is_told(self, store: Subject) -> None:
        target, send_id = await a_send(store)
        send = of_timer(target, kind=SEND, mark=send_id, retry_at_ms=None)
        assert await store.note_failure(send)
        owner = await a_failing_timer(store, retry_at_ms=None)
        trying = await a_failing_timer(store)

        due = await store.due(LATER_MS - 1, 10)
        told = await store.failing()

        assert nothing(due)
        assert sorted(told[:2], key=lambda row: row.kind) == [send, owner]
        assert told[2:] == [trying]
        assert await store.failing(owner.workflow_id) == [owner]
        assert await store.failing(builders.new_id()) == []
        assert await store.failing(limit=2) == told[:2]

    async def test_each_attempt_is_counted_once(self, store: Subject) -> None:
        first = await a_failing_timer(store)
        second = replace(first, attempts=2, error="again")

        assert not await store.note_failure(first)
        assert not await store.note_failure(replace(first, attempts=3))
        assert await store.note_failure(second)
        assert not await store.note_failure(second)

        assert await store.failing() == [second]

    async def test_a_row_that_is_not_there_takes_no_failure(self, store: Subject) -> None:
        header = await a_run(store, timer(None))
        failing = of_timer(header.workflow_id)

        absent = [
            replace(failing, mark=NOW_MS + 1),
            replace(failing, kind=TimerKind.CONTINUE.value),
            replace(failing, task_id=builders.new_id()),
            replace(failing, workflow_id=builders.new_id()),
            replace(failing, kind=SEND, mark=10**9),
            replace(failing, kind=LEASE, task_id=builders.new_id(), mark=1),
        ]

        assert [await store.note_failure(one) for one in absent] == [False] * len(absent)
        assert await store.failing() == []
        assert len((await store.due(NOW_MS, 10)).timers) == 1

    async def test_a_timer_set_anew_has_not_failed(self, store: Subject) -> None:
        failing = await a_failing_timer(store, retry_at_ms=None)
        run = failing.workflow_id
        kind = TimerKind.WAIT

        # At the same time as before: only writing it makes it another one.
        again = SetTimer(task_id="", kind=kind, due_at_ms=NOW_MS)
        await accept(store, step(run, 1, again))

        expected = DueTimer(workflow_id=run, task_id="", kind=kind, due_at_ms=NOW_MS)
        due = await store.due(NOW_MS, 10)
        assert (due.timers, due.failing) == ([expected], [])
        await accept(store, step(run, 2, ClearTimer(task_id="", kind=kind)))
        assert await store.failing() == []

    async def test_timers_of_a_task_and_of_its_run_fail_apart(self, store: Subject) -> None:
        one = task(1)
        header = await a_run(store, put_task(one), timer(one), timer(None))
        failing = of_timer(header.workflow_id, task_id=one.task_id)

        assert await store.note_failure(failing)

        [left] = (await store.due(NOW_MS, 10)).timers
        assert left.task_id == ""
        assert await store.failing(header.workflow_id) == [failing]

    async def test_what_is_re_armed_is_due_as_if_it_had_never_failed(self, store: Subject) -> None:
        first = await a_failing_timer(store, retry_at_ms=None)
        second = await a_failing_timer(store, retry_at_ms=None)
        trying = await a_failing_timer(store)

        assert await store.rearm(first.workflow_id) == 1
        assert await store.rearm(trying.workflow_id) == 0

        assert await store.failing() == [second, trying]
        assert [one.workflow_id for one in (await store.due(NOW_MS, 10)).timers] == [
            first.workflow_id
        ]
        assert await store.note_failure(first), "it counts from the beginning"
        assert await store.rearm() == 2
        assert await store.failing() == [trying]

    async def test_a_long_error_is_cut(self, store: Subject) -> None:
        header = await a_run(store, timer(None))
        failing = of_timer(header.workflow_id, error="\0é" + "x" * ERROR_CHARS_MAX)

        assert await store.note_failure(failing)

        [kept] = await store.failing()
        assert (len(kept.error), kept.error[1:3]) == (ERROR_CHARS_MAX, "éx")

    async def test_a_removed_run_has_no_failing_rows(self, store: Subject) -> None:
        failing = await a_failing_timer(store, retry_at_ms=None)
        run = failing.workflow_id

        await accept(store, step(run, 1, RemoveWorkflow(run)))

        assert await store.failing() == []
        assert await store.rearm() == 0


class FailingDurabilityCases:
    """What a restart keeps of failures."""

    async def test_failures_and_quarantine_outlive_a_restart(
        self, store: Subject, reopen: Callable[[Subject], Awaitable[Subject]]
    ) -> None:
        trying = await a_failing_timer(store)
        quarantined = await a_failing_timer(store, retry_at_ms=None)

        again = await reopen(store)

        assert await again.failing() == [quarantined, trying]
        assert nothing(await again.due(LATER_MS - 1, 10))
        assert await again.rearm() == 1


class FailingRivalCases:
    """What nodes of one database know of each other's failures."""

    async def test_of_two_nodes_one_counts_an_attempt(self, store: Subject, rival: Subject) -> None:
        failing = await a_failing_timer(store)
        second = replace(failing, attempts=2)

        counted = [await node.note_failure(second) for node in (rival, store)]

        assert counted == [True, False]
        assert await store.failing() == await rival.failing() == [second]

    async def test_what_one_node_quarantines_another_re_arms(
        self, store: Subject, rival: Subject
    ) -> None:
        await a_failing_timer(store, retry_at_ms=None)

        assert nothing(await rival.due(LATER_MS, 10))
        assert await rival.rearm() == 1
        assert len((await store.due(NOW_MS, 10)).timers) == 1
