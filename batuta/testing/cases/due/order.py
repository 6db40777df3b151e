"""What one run sends to another stays in order; what others send is not held up."""

from batuta.model.change import Change, DropSend, Send, SendInPlace
from batuta.model.command import PauseWorkflow, ResumeWorkflow
from batuta.model.execution import Workflow
from batuta.store.base import Decision, PendingSend
from batuta.store.failing import SEND, Failing
from batuta.testing.builders import NOW_MS, batch, step
from batuta.testing.cases.subject import ACCEPTED, STALE, Subject, a_run, accept

LATER_MS = NOW_MS + 10_000


async def fail(store: Subject, send: PendingSend, retry_at_ms: int | None = None) -> None:
    """Have a Send fail, so that it is quarantined unless it is tried again."""
    failing = Failing(
        workflow_id=send.workflow_id,
        kind=SEND,
        mark=send.send_id,
        attempts=1,
        error="boom",
        retry_at_ms=retry_at_ms,
    )
    assert await store.note_failure(failing)


async def sends(store: Subject, until_ms: int = NOW_MS) -> list[int]:
    """Return the ids of the Sends that are due."""
    return [send.send_id for send in (await store.due(until_ms, 10)).sends]


async def two_senders(store: Subject) -> tuple[Workflow, list[PendingSend]]:
    """Store two Sends of one run and one of another for the same target; return them in order."""
    target = await a_run(store)
    pause, resume = (
        Send(PauseWorkflow(target.workflow_id)),
        Send(ResumeWorkflow(target.workflow_id)),
    )
    one, other = await a_run(store), await a_run(store)
    await accept(store, step(one.workflow_id, 1, pause))
    await accept(store, step(one.workflow_id, 2, resume))
    await accept(store, step(other.workflow_id, 1, pause))
    [first] = (await store.due(0, 10)).sends
    await fail(store, first)
    [third] = (await store.due(0, 10)).sends
    assert await store.rearm(target.workflow_id) == 1
    return target, [first, third]


async def in_place(store: Subject, sender: Workflow, target: Workflow, version: int) -> bool:
    """Settle a Send from one run to another in one decision; tell whether it was accepted."""
    changes: list[Change] = [SendInPlace(target.workflow_id)]
    both = [step(sender.workflow_id, version, *changes), step(target.workflow_id, 1)]
    [verdict] = (await store.commit(batch(Decision(both)))).verdicts
    assert verdict in (ACCEPTED, STALE)
    return verdict == ACCEPTED


class SendOrderCases:
    """The order of Sends around one that fails."""

    async def test_a_quarantined_send_holds_back_its_sender_and_no_other(
        self, store: Subject
    ) -> None:
        target, [first, third] = await two_senders(store)
        assert await sends(store) == [first.send_id]

        await fail(store, first)

        assert await sends(store, LATER_MS) == [third.send_id]
        await accept(store, step(target.workflow_id, 1, DropSend(third.send_id)))
        assert await sends(store, LATER_MS) == []

    async def test_a_send_in_back_off_holds_back_its_sender_and_no_other(
        self, store: Subject
    ) -> None:
        _, [first, third] = await two_senders(store)

        await fail(store, first, LATER_MS)

        assert await sends(store, LATER_MS - 1) == [third.send_id]
        assert await sends(store, LATER_MS) == [first.send_id, third.send_id]

    async def test_what_is_re_armed_comes_before_what_waited_behind_it(
        self, store: Subject
    ) -> None:
        target, [first, third] = await two_senders(store)
        await fail(store, first)
        await accept(store, step(target.workflow_id, 1, DropSend(third.send_id)))

        assert await store.rearm() == 1

        [again] = await sends(store)
        await accept(store, step(target.workflow_id, 2, DropSend(again)))
        [second] = await sends(store)
        assert (again, first.send_id < second < third.send_id) == (first.send_id, True)

    async def test_a_quarantined_send_holds_back_nothing_for_other_runs(
        self, store: Subject
    ) -> None:
        one, two, sender = [await a_run(store) for _ in range(3)]
        both = [Send(PauseWorkflow(run.workflow_id)) for run in (one, two)]
        await accept(store, step(sender.workflow_id, 1, *both))
        [first, second] = (await store.due(0, 10)).sends

        await fail(store, first)

        assert await sends(store) == [second.send_id]

    async def test_a_send_settled_in_place_does_not_overtake_a_stored_one(
        self, store: Subject
    ) -> None:
        target, sender, other = [await a_run(store) for _ in range(3)]
        await accept(store, step(sender.workflow_id, 1, Send(PauseWorkflow(target.workflow_id))))
        [stored] = (await store.due(0, 10)).sends

        assert not await in_place(store, sender, target, 2)
        assert await in_place(store, other, target, 1), "another sender has no order with it"

        await accept(store, step(target.workflow_id, 2, DropSend(stored.send_id)))
        fresh = await a_run(store)
        assert await in_place(store, sender, fresh, 2)

    async def test_a_send_settled_in_place_does_not_overtake_a_quarantined_one(
        self, store: Subject
    ) -> None:
        target, sender = await a_run(store), await a_run(store)
        await accept(store, step(sender.workflow_id, 1, Send(PauseWorkflow(target.workflow_id))))
        [stored] = (await store.due(0, 10)).sends
        await fail(store, stored)

        assert not await in_place(store, sender, target, 2)

    async def test_what_is_refused_for_its_order_refuses_no_other(self, store: Subject) -> None:
        target, sender, bystander = [await a_run(store) for _ in range(3)]
        await accept(store, step(sender.workflow_id, 1, Send(PauseWorkflow(target.workflow_id))))

        committed = await store.commit(
            batch(
                step(sender.workflow_id, 2, SendInPlace(target.workflow_id)),
                step(bystander.workflow_id, 1),
            )
        )

        assert committed.verdicts == [STALE, ACCEPTED]
