"""Timers and Sends: set, replaced, cleared, dropped; due soonest first."""

import pytest

from batuta.model.change import ClearTimer, DropSend, Send
from batuta.model.command import (
    ChildEnded,
    Command,
    PauseWorkflow,
    ResumeWorkflow,
    StartWorkflow,
    TimerKind,
    decode_command,
)
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.store.base import DueTimer
from batuta.testing import builders
from batuta.testing.builders import LEASE_MS, NOW_MS, put_task, start, step, task, timer
from batuta.testing.cases.subject import Subject, a_run, accept, poll, queued

FOREVER_MS = NOW_MS + 10**12


class TimerCases:
    """What becomes due."""

    @pytest.mark.parametrize("kind", list(TimerKind))
    async def test_a_timer_is_due_at_its_time(self, store: Subject, kind: TimerKind) -> None:
        first = task(1)
        header = await a_run(store, put_task(first), timer(first, NOW_MS + 500, kind))

        before = await store.due(NOW_MS + 499, 10)
        at = await store.due(NOW_MS + 500, 10)

        assert before.timers == []
        assert at.timers == [
            DueTimer(
                workflow_id=header.workflow_id,
                task_id=first.task_id,
                kind=kind,
                due_at_ms=NOW_MS + 500,
            )
        ]
        assert await store.due(NOW_MS + 500, 10) == at, "it stays due until it is cleared"

    async def test_a_timer_may_belong_to_the_whole_run(self, store: Subject) -> None:
        header = await a_run(store, timer(None, NOW_MS, TimerKind.WORKFLOW_TIMEOUT))

        [due] = (await store.due(NOW_MS, 10)).timers

        assert (due.workflow_id, due.task_id) == (header.workflow_id, "")

    async def test_a_timer_of_the_same_task_and_kind_is_replaced(self, store: Subject) -> None:
        first = task(1)
        header = await a_run(store, put_task(first), timer(first, NOW_MS), timer(None, NOW_MS))

        await accept(store, step(header.workflow_id, 1, timer(first, NOW_MS + 900)))

        due = (await store.due(FOREVER_MS, 10)).timers
        assert [(one.task_id, one.due_at_ms) for one in due] == [
            ("", NOW_MS),
            (first.task_id, NOW_MS + 900),
        ]

    async def test_timers_of_other_kinds_tasks_and_runs_stay(self, store: Subject) -> None:
        first, second = task(1), task(2)
        await a_run(store, timer(None, NOW_MS + 4))
        header = await a_run(
            store,
            put_task(first),
            put_task(second),
            timer(first, NOW_MS + 1),
            timer(first, NOW_MS + 2, TimerKind.POLL_TIMEOUT),
            timer(second, NOW_MS + 3),
            timer(None, NOW_MS + 5),
        )

        gone = ClearTimer(task_id=first.task_id, kind=TimerKind.WAIT)
        await accept(store, step(header.workflow_id, 1, gone))

        due = (await store.due(FOREVER_MS, 10)).timers
        assert [one.due_at_ms - NOW_MS for one in due] == [2, 3, 4, 5]

    async def test_clearing_a_timer_that_is_not_there_is_nothing(self, store: Subject) -> None:
        header = await a_run(store)

        gone = ClearTimer(task_id="", kind=TimerKind.CONTINUE)
        await accept(store, step(header.workflow_id, 1, gone, gone))

        assert (await store.due(FOREVER_MS, 10)).timers == []

    async def test_timers_change_in_the_order_of_the_changes(self, store: Subject) -> None:
        first, second = task(1), task(2)
        clear_first = ClearTimer(task_id=first.task_id, kind=TimerKind.WAIT)
        clear_second = ClearTimer(task_id=second.task_id, kind=TimerKind.WAIT)
        await a_run(
            store,
            put_task(first),
            put_task(second),
            timer(first, NOW_MS + 1),
            clear_first,
            clear_second,
            timer(second, NOW_MS + 2),
            timer(second, NOW_MS + 3),
        )

        due = (await store.due(FOREVER_MS, 10)).timers

        assert [(one.task_id, one.due_at_ms) for one in due] == [(second.task_id, NOW_MS + 3)]

    async def test_the_soonest_timers_come_first_up_to_the_limit(self, store: Subject) -> None:
        tasks = [task(seq) for seq in range(1, 9)]
        offsets = [70, 10, 50, 30, 80, 20, 60, 40]
        await a_run(
            store,
            *[put_task(one) for one in tasks],
            *[timer(one, NOW_MS + at) for one, at in zip(tasks, offsets, strict=True)],
        )

        due = await store.due(NOW_MS + 60, 4)

        assert [one.due_at_ms - NOW_MS for one in due.timers] == [10, 20, 30, 40]
        assert len((await store.due(NOW_MS + 60, 100)).timers) == 6

    async def test_leases_are_due_when_they_expire_soonest_first(self, store: Subject) -> None:
        await queued(store, 3)
        [second] = await poll(store, now_ms=NOW_MS + 20)
        [first] = await poll(store, now_ms=NOW_MS + 10)
        [third] = await poll(store, now_ms=NOW_MS + 30)

        assert (await store.due(NOW_MS + LEASE_MS + 9, 9)).leases == []
        assert (await store.due(NOW_MS + LEASE_MS + 20, 9)).leases == [first, second]
        assert (await store.due(FOREVER_MS, 9)).leases == [first, second, third]
        assert (await store.due(FOREVER_MS, 1)).leases == [first]

    async def test_sends_wait_in_order_until_they_are_dropped(self, store: Subject) -> None:
        sender, target = await a_run(store), await a_run(store)
        commands: list[Command] = [
            PauseWorkflow(target.workflow_id),
            ResumeWorkflow(target.workflow_id),
            ChildEnded(
                workflow_id=target.workflow_id,
                task_id=builders.new_id(),
                child_id=sender.workflow_id,
                status=TaskStatus.COMPLETED,
                output=Payload('{"é":"\\n"}'.encode()),
            ),
        ]
        await accept(store, step(sender.workflow_id, 1, *[Send(one) for one in commands[:2]]))
        await accept(store, step(sender.workflow_id, 2, Send(commands[2])))

        sends = []
        for version in (1, 2, 3):
            [following] = (await store.due(0, 10)).sends
            sends.append(following)
            await accept(store, step(target.workflow_id, version, DropSend(following.send_id)))

        assert (await store.due(0, 10)).sends == []
        assert [decode_command(one.document) for one in sends] == commands
        assert {one.workflow_id for one in sends} == {target.workflow_id}
        assert [one.send_id for one in sends] == sorted({one.send_id for one in sends})

    async def test_many_sends_of_one_run_hide_no_other_runs(self, store: Subject) -> None:
        sender, stuck, other = await a_run(store), await a_run(store), await a_run(store)
        pauses = [Send(PauseWorkflow(stuck.workflow_id)) for _ in range(5)]
        last = Send(PauseWorkflow(other.workflow_id))
        await accept(store, step(sender.workflow_id, 1, *pauses, last))

        both = (await store.due(0, 2)).sends
        first = (await store.due(0, 1)).sends

        assert [one.workflow_id for one in both] == [stuck.workflow_id, other.workflow_id]
        assert first == both[:1]

    async def test_a_send_may_start_a_run_that_does_not_exist_yet(self, store: Subject) -> None:
        sender = await a_run(store)
        child = StartWorkflow(
            workflow_id=builders.new_id(), name="child", definition="d", input=Payload(b"{}")
        )
        await accept(store, step(sender.workflow_id, 1, Send(child)))
        [send] = (await store.due(0, 10)).sends

        header = builders.workflow(workflow_id=child.workflow_id)
        await accept(store, start(header, DropSend(send.send_id)))

        assert decode_command(send.document) == child
        assert (await store.due(0, 10)).sends == []

    async def test_an_id_of_a_send_is_not_used_again(self, store: Subject) -> None:
        header = await a_run(store)
        send = Send(PauseWorkflow(header.workflow_id))
        await accept(store, step(header.workflow_id, 1, send))
        [first] = (await store.due(0, 10)).sends
        await accept(store, step(header.workflow_id, 2, DropSend(first.send_id)))

        await accept(store, step(header.workflow_id, 3, send))

        [second] = (await store.due(0, 10)).sends
        assert second.send_id > first.send_id

    async def test_a_quiet_store_has_nothing_due(self, store: Subject) -> None:
        due = await store.due(FOREVER_MS, 10)

        assert (due.timers, due.leases, due.sends) == ([], [], [])
