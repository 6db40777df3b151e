"""Refusals: stale versions, lost reservations, and that a decision is whole or nothing."""

import asyncio

from msgspec.structs import replace

from batuta.model.change import DropSend, Enqueue, Release, Reserve, Send
from batuta.model.command import PauseWorkflow
from batuta.model.execution import WorkflowStatus
from batuta.store.base import Accepted, Decision, Taken
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, batch, put_task, put_workflow, start, step, task
from batuta.testing.cases.subject import (
    ACCEPTED,
    STALE,
    Subject,
    a_run,
    accept,
    loaded,
    poll,
    queued,
    version,
)


def reserve(workflow_id: str, key: str = "k", until_ms: int = NOW_MS + 1_000) -> Reserve:
    """Claim a key of scope ``start`` for a run."""
    return Reserve(scope="start", key=key, workflow_id=workflow_id, until_ms=until_ms)


class ConflictCases:
    """Who wins, and what the loser leaves behind: nothing."""

    async def test_the_second_of_two_rivals_is_refused(self, store: Subject) -> None:
        header = await a_run(store)
        await accept(store, step(header.workflow_id, 1, put_task(task(1, reference_name="a"))))

        late = step(header.workflow_id, 1, put_task(task(1, reference_name="b")))
        committed = await store.commit(batch(late))

        assert committed.verdicts == [STALE]
        found = await loaded(store, header.workflow_id)
        assert [t.reference_name for t, _, _ in found.tasks] == ["a"]
        assert found.workflow.version == 2

    async def test_versions_from_the_future_and_unknown_runs_are_stale(
        self, store: Subject
    ) -> None:
        header = await a_run(store)

        committed = await store.commit(
            batch(step(header.workflow_id, 2), step(builders.new_id(), 1))
        )

        assert committed.verdicts == [STALE, STALE]

    async def test_a_run_cannot_begin_twice(self, store: Subject) -> None:
        header = await a_run(store, reason="first")

        committed = await store.commit(batch(start(replace(header, reason="second"))))

        assert committed.verdicts == [STALE]
        assert (await loaded(store, header.workflow_id)).workflow.reason == "first"

    async def test_a_stale_decision_does_not_fail_the_others(self, store: Subject) -> None:
        headers = [await a_run(store) for _ in range(5)]
        versions = [1, 7, 1, 7, 1]

        committed = await store.commit(
            batch(
                *[
                    step(header.workflow_id, known, put_task(task(1)))
                    for header, known in zip(headers, versions, strict=True)
                ]
            )
        )

        assert committed.verdicts == [ACCEPTED, STALE, ACCEPTED, STALE, ACCEPTED]
        assert [await version(store, header.workflow_id) for header in headers] == [2, 1, 2, 1, 2]

    async def test_a_refused_decision_writes_nothing_at_all(self, store: Subject) -> None:
        header, tasks = await queued(store)
        before = await loaded(store, header.workflow_id)
        other, second = builders.workflow(), task(2)
        doomed = Decision(
            [
                start(other, put_task(task(1))),
                step(
                    header.workflow_id,
                    9,
                    put_workflow(replace(header, status=WorkflowStatus.FAILED), header),
                    put_task(second),
                    Release(task_id=tasks[0].task_id),
                    builders.enqueue(second, "other"),
                    builders.log(second, "line"),
                    builders.timer(second),
                    reserve(header.workflow_id),
                    Send(PauseWorkflow(header.workflow_id)),
                    request_id="r",
                ),
            ]
        )

        committed = await store.commit(batch(doomed))

        assert committed.verdicts == [STALE]
        assert await store.load([(other.workflow_id, 0)]) == {}
        assert await loaded(store, header.workflow_id) == before
        assert await store.find_task(second.task_id) is None
        assert await store.logs(second.task_id) == []
        due = await store.due(NOW_MS + 10**9, 10)
        assert (due.timers, due.sends) == ([], [])
        assert len(await store.read_after(0, limit=10)) == 1
        assert [(one.queue, one.ready) for one in await store.queues()] == [("build", 1)]
        third = await a_run(store, reserve(header.workflow_id))
        assert await version(store, third.workflow_id) == 1

    async def test_two_runs_are_accepted_or_refused_together(self, store: Subject) -> None:
        one, two = await a_run(store), await a_run(store)
        apart = Decision([step(one.workflow_id, 1), step(two.workflow_id, 5)])
        together = Decision([step(one.workflow_id, 1), step(two.workflow_id, 1)])

        assert (await store.commit(batch(apart))).verdicts == [STALE]
        assert await version(store, one.workflow_id) == 1
        assert (await store.commit(batch(together))).verdicts == [ACCEPTED]
        assert await version(store, one.workflow_id) == 2
        assert await version(store, two.workflow_id) == 2

    async def test_of_two_committers_at_once_exactly_one_wins(self, store: Subject) -> None:
        header = await a_run(store)
        rivals = [
            batch(step(header.workflow_id, 1, put_task(task(1, reference_name=f"r{number}"))))
            for number in range(8)
        ]

        answers = await asyncio.gather(*[store.commit(rival) for rival in rivals])

        won = [index for index, answer in enumerate(answers) if answer.verdicts == [ACCEPTED]]
        assert len(won) == 1
        found = await loaded(store, header.workflow_id)
        assert [t.reference_name for t, _, _ in found.tasks] == [f"r{won[0]}"]
        assert found.workflow.version == 2

    async def test_committers_of_different_runs_do_not_disturb_each_other(
        self, store: Subject
    ) -> None:
        headers = [await a_run(store) for _ in range(10)]

        answers = await asyncio.gather(
            *[store.commit(batch(step(header.workflow_id, 1))) for header in headers]
        )

        assert all(answer.verdicts == [ACCEPTED] for answer in answers)

    async def test_the_first_reservation_of_a_key_wins(self, store: Subject) -> None:
        first, second = builders.workflow(), builders.workflow()
        await accept(store, start(first, reserve(first.workflow_id)))

        committed = await store.commit(batch(start(second, reserve(second.workflow_id))))

        assert committed.verdicts == [Taken(first.workflow_id)]
        assert await version(store, second.workflow_id) == 0

    async def test_of_two_reservations_in_one_batch_the_first_wins(self, store: Subject) -> None:
        stale, first, second, third = [builders.workflow() for _ in range(4)]
        keys = "a", "a", "a", "b"
        versions = 3, 0, 0, 0
        runs = [
            step(one.workflow_id, known, put_workflow(one), reserve(one.workflow_id, key))
            for one, known, key in zip((stale, first, second, third), versions, keys, strict=True)
        ]

        committed = await store.commit(batch(*runs))

        assert committed.verdicts == [STALE, ACCEPTED, Taken(first.workflow_id), ACCEPTED]

    async def test_a_lost_reservation_loses_the_whole_decision(self, store: Subject) -> None:
        first, second, bystander = await a_run(store), await a_run(store), await a_run(store)
        await accept(store, step(first.workflow_id, 1, reserve(first.workflow_id)))
        pair = Decision(
            [
                step(bystander.workflow_id, 1, put_task(task(1))),
                step(second.workflow_id, 1, reserve(second.workflow_id)),
            ]
        )

        committed = await store.commit(batch(pair))

        assert committed.verdicts == [Taken(first.workflow_id)]
        assert await version(store, bystander.workflow_id) == 1

    async def test_keys_of_different_scopes_are_different(self, store: Subject) -> None:
        one, two = builders.workflow(), builders.workflow()
        elsewhere = replace(reserve(two.workflow_id), scope="other")

        await accept(store, start(one, reserve(one.workflow_id)), start(two, elsewhere))

    async def test_an_expired_reservation_can_be_taken(self, store: Subject) -> None:
        first, second, third = [await a_run(store) for _ in range(3)]
        until_ms = NOW_MS + 1_000
        await accept(store, step(first.workflow_id, 1, reserve(first.workflow_id)))

        late = step(second.workflow_id, 1, reserve(second.workflow_id, until_ms=NOW_MS + 9_000))
        early = await store.commit(batch(late, now_ms=until_ms - 1))
        await accept(store, late, now_ms=until_ms)
        after = await store.commit(
            batch(step(third.workflow_id, 1, reserve(third.workflow_id)), now_ms=until_ms)
        )

        assert early.verdicts == [Taken(first.workflow_id)]
        assert after.verdicts == [Taken(second.workflow_id)]

    async def test_the_holder_may_reserve_again(self, store: Subject) -> None:
        header, rival = await a_run(store), await a_run(store)
        again = reserve(header.workflow_id, until_ms=NOW_MS + 9_000)
        await accept(store, step(header.workflow_id, 1, reserve(header.workflow_id)))
        await accept(store, step(header.workflow_id, 2, again))

        lost = step(rival.workflow_id, 1, reserve(rival.workflow_id))
        committed = await store.commit(batch(lost, now_ms=NOW_MS + 5_000))

        assert committed.verdicts == [Taken(header.workflow_id)]

    async def test_a_send_is_dropped_exactly_once(self, store: Subject) -> None:
        sender, target = await a_run(store), await a_run(store)
        send = Send(PauseWorkflow(target.workflow_id))
        await accept(store, step(sender.workflow_id, 1, send))
        [sent] = (await store.due(NOW_MS, 10)).sends
        drop = DropSend(sent.send_id)

        together = await asyncio.gather(
            *[store.commit(batch(step(target.workflow_id, 1, drop))) for _ in range(2)]
        )
        again = await store.commit(batch(step(target.workflow_id, 2, drop)))
        never = await store.commit(batch(step(target.workflow_id, 2, DropSend(10**9))))

        verdicts = [committed.verdicts[0] for committed in together]
        assert sum(isinstance(verdict, Accepted) for verdict in verdicts) == 1
        assert (again.verdicts, never.verdicts) == ([STALE], [STALE])
        assert (await store.due(NOW_MS, 10)).sends == []

    async def test_a_poll_between_load_and_commit_makes_a_cancellation_stale(
        self, store: Subject
    ) -> None:
        header, [first] = await queued(store)
        seen = await loaded(store, header.workflow_id)
        [lease] = await poll(store)

        blind = step(header.workflow_id, 1, Release(task_id=first.task_id))
        committed = await store.commit(batch(blind))

        assert seen.leases == []
        assert committed.verdicts == [STALE]
        assert (await loaded(store, header.workflow_id)).leases == [lease]

    async def test_a_refused_offer_is_not_handed_out(self, store: Subject) -> None:
        header = await a_run(store)
        first = task(1)
        offer: Enqueue = builders.enqueue(first)

        committed = await store.commit(
            batch(step(header.workflow_id, 4, put_task(first), offer), claims=[builders.claim()])
        )

        assert (committed.verdicts, committed.claimed) == ([STALE], [[]])
