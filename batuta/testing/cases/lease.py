"""Leases: how a task leaves its holder's hands, and who may say so."""

from typing import Any

from msgspec.structs import replace

from batuta.model.change import Release
from batuta.model.execution import Lease, TaskStatus
from batuta.store.base import Touch, Verdict
from batuta.testing import builders
from batuta.testing.builders import LEASE_MS, NOW_MS, batch, put_task, start, step, task
from batuta.testing.cases.subject import (
    ACCEPTED,
    STALE,
    Subject,
    a_run,
    accept,
    loaded,
    poll,
    queued,
    touch,
)

LATER_MS = NOW_MS + 5_000


async def release(
    store: Subject, workflow_id: str, task_id: str, version_from: int = 1, **seen: Any
) -> Verdict:
    """Commit one Release; ``seen`` is what the decision saw of the lease."""
    change = Release(task_id=task_id, **seen)
    committed = await store.commit(batch(step(workflow_id, version_from, change)))
    return committed.verdicts[0]


async def leases(store: Subject, workflow_id: str) -> list[Lease]:
    """Return the leases of a run."""
    return (await loaded(store, workflow_id)).leases


class LeaseCases:
    """Release, Touch and PutLease."""

    async def test_the_report_of_the_holder_ends_the_lease(self, store: Subject) -> None:
        header, [first] = await queued(store)
        await poll(store)
        done = replace(first, status=TaskStatus.COMPLETED, poll_count=1, worker_id="w1")

        await accept(
            store,
            step(
                header.workflow_id,
                1,
                put_task(done, first),
                Release(task_id=first.task_id, poll_count=1),
            ),
        )

        found = await loaded(store, header.workflow_id)
        assert (found.leases, found.tasks[0][0]) == ([], done)
        assert await poll(store) == []

    async def test_a_decision_that_saw_another_lease_is_stale(self, store: Subject) -> None:
        header, [first] = await queued(store, poll_count=4)
        [lease] = await poll(store)

        verdicts = [
            await release(store, header.workflow_id, first.task_id, poll_count=poll_count)
            for poll_count in (0, 4, 6)
        ]

        assert verdicts == [STALE] * 3
        assert await leases(store, header.workflow_id) == [lease]

    async def test_a_decision_that_saw_a_lease_that_is_gone_is_stale(self, store: Subject) -> None:
        header, [first] = await queued(store)
        [lease] = await poll(store)
        await touch(store, lease, is_given_back=True)

        assert await release(store, header.workflow_id, first.task_id, poll_count=1) == STALE
        assert len(await poll(store)) == 1

    async def test_a_task_that_is_nowhere_can_be_released(self, store: Subject) -> None:
        first = task(1)
        header = await a_run(store, put_task(first))

        assert await release(store, header.workflow_id, first.task_id) == ACCEPTED

    async def test_a_lease_expires_at_its_time_and_not_before(self, store: Subject) -> None:
        header, [first] = await queued(store)
        [lease] = await poll(store)
        seen = {"poll_count": 1}
        run, at_ms = header.workflow_id, lease.expires_at_ms

        early = await release(store, run, first.task_id, expired_at_ms=at_ms - 1, **seen)
        kept = await leases(store, run)
        late = await release(store, run, first.task_id, expired_at_ms=at_ms, **seen)

        assert (early, late) == (STALE, ACCEPTED)
        assert kept == [lease]
        assert await leases(store, run) == []

    async def test_a_heartbeat_in_time_keeps_the_lease_from_expiring(self, store: Subject) -> None:
        header, [first] = await queued(store)
        [lease] = await poll(store)
        assert await touch(store, lease, now_ms=LATER_MS)

        verdict = await release(
            store,
            header.workflow_id,
            first.task_id,
            poll_count=1,
            expired_at_ms=lease.expires_at_ms,
        )

        assert verdict == STALE

    async def test_one_lost_lease_refuses_both_runs_of_a_decision(self, store: Subject) -> None:
        header, [first] = await queued(store)
        await poll(store)
        child = builders.workflow()
        pair = builders.together(
            start(child), step(header.workflow_id, 1, Release(task_id=first.task_id))
        )

        committed = await store.commit(batch(pair))

        assert committed.verdicts == [STALE]
        assert await store.load([(child.workflow_id, 0)]) == {}

    async def test_a_heartbeat_starts_the_lease_anew(self, store: Subject) -> None:
        header, _ = await queued(store)
        [lease] = await poll(store)

        assert await touch(store, lease, now_ms=LATER_MS)

        assert await leases(store, header.workflow_id) == [
            replace(lease, polled_at_ms=LATER_MS, expires_at_ms=LATER_MS + LEASE_MS)
        ]
        assert (await store.due(NOW_MS + LEASE_MS, 9)).leases == []

    async def test_a_heartbeat_does_not_move_the_timeout(self, store: Subject) -> None:
        header, _ = await queued(store, timeout_ms=LEASE_MS + 1_000)
        [lease] = await poll(store)

        assert await touch(store, lease, now_ms=LATER_MS)

        [renewed] = await leases(store, header.workflow_id)
        assert renewed.expires_at_ms == NOW_MS + LEASE_MS + 1_000
        assert renewed.started_at_ms == NOW_MS

    async def test_touching_another_lease_changes_nothing(self, store: Subject) -> None:
        header, [first, second] = await queued(store, 2)
        [lease] = await poll(store)
        wishes = [
            Touch(
                task_id=task_id,
                poll_count=poll_count,
                polled_at_ms=lease.polled_at_ms,
                is_given_back=is_given_back,
            )
            for is_given_back in (False, True)
            for task_id, poll_count in (
                (first.task_id, 2),
                (first.task_id, 0),
                (second.task_id, 1),
                (builders.new_id(), 1),
                ("not a uuid", 1),
            )
        ]

        committed = await store.commit(batch(now_ms=LATER_MS, touches=wishes))

        assert committed.touched == [False] * 10
        assert await leases(store, header.workflow_id) == [lease]
        assert [one.task_id for one in await poll(store, count=9)] == [second.task_id]

    async def test_touches_are_answered_in_order(self, store: Subject) -> None:
        await queued(store, 3)
        first, second, third = await poll(store, count=3)
        await touch(store, second, is_given_back=True)

        committed = await store.commit(
            batch(
                touches=[
                    Touch(task_id=third.task_id, poll_count=1),
                    Touch(task_id=second.task_id, poll_count=1),
                    builders.give_back(first),
                ]
            )
        )

        assert committed.touched == [True, False, True]

    async def test_an_undelivered_task_goes_back_to_its_old_place(self, store: Subject) -> None:
        _, [first, second] = await queued(store, 2, priority=3)
        urgent_header, [urgent] = await queued(store, priority=4)
        leases = await poll(store, count=2, now_ms=LATER_MS)
        assert [lease.task_id for lease in leases] == [urgent.task_id, first.task_id]

        for lease in reversed(leases):
            assert await touch(store, lease, is_given_back=True, now_ms=LATER_MS)

        assert (await loaded(store, urgent_header.workflow_id)).leases == []
        again = await poll(store, count=3, now_ms=LATER_MS)
        assert [lease.task_id for lease in again] == [
            urgent.task_id,
            first.task_id,
            second.task_id,
        ]

    async def test_a_lease_given_back_twice_is_not_taken_from_who_has_it_by_then(
        self, store: Subject
    ) -> None:
        header, _ = await queued(store)
        [lease] = await poll(store)
        await touch(store, lease, is_given_back=True)
        [again] = await poll(store, now_ms=LATER_MS)

        assert again.poll_count == lease.poll_count
        assert not await touch(store, lease, is_given_back=True, now_ms=LATER_MS)
        assert await leases(store, header.workflow_id) == [again]

    async def test_a_lease_renewed_meanwhile_is_not_given_back(self, store: Subject) -> None:
        header, _ = await queued(store)
        [lease] = await poll(store)
        await touch(store, lease, now_ms=LATER_MS)

        assert not await touch(store, lease, is_given_back=True, now_ms=LATER_MS)
        [renewed] = await leases(store, header.workflow_id)
        assert await touch(store, renewed, is_given_back=True, now_ms=LATER_MS)

    async def test_a_give_back_and_a_heartbeat_of_one_batch_are_done_in_order(
        self, store: Subject
    ) -> None:
        header, _ = await queued(store)
        [lease] = await poll(store)
        heartbeat = Touch(task_id=lease.task_id, poll_count=lease.poll_count)
        give_back = builders.give_back(lease)
        moot = replace(give_back, polled_at_ms=lease.polled_at_ms - 1)

        late = await store.commit(batch(now_ms=LATER_MS, touches=[moot, heartbeat, give_back]))
        [renewed] = await leases(store, header.workflow_id)
        wishes = [heartbeat, builders.give_back(renewed), heartbeat]
        at_once = await store.commit(batch(now_ms=LATER_MS, touches=wishes))

        assert late.touched == [False, True, False]
        assert at_once.touched == [True, True, False]
        assert await leases(store, header.workflow_id) == []

    async def test_an_undelivered_poll_does_not_count(self, store: Subject) -> None:
        await queued(store, poll_count=6, started_at_ms=NOW_MS - 1_000, timeout_ms=9_000)
        [lease] = await poll(store)
        await touch(store, lease, is_given_back=True)

        [again] = await poll(store, now_ms=LATER_MS)

        assert (lease.poll_count, again.poll_count) == (7, 7)
        assert again.started_at_ms == NOW_MS - 1_000
        assert again.expires_at_ms == NOW_MS + 8_000
        assert (again.lease_ms, again.timeout_ms) == (LEASE_MS, 9_000)

    async def test_a_task_whose_first_poll_was_undelivered_has_not_started(
        self, store: Subject
    ) -> None:
        await queued(store)
        [lease] = await poll(store)
        await touch(store, lease, is_given_back=True)

        [again] = await poll(store, now_ms=LATER_MS)

        assert (again.poll_count, again.started_at_ms) == (1, LATER_MS)

    async def test_what_was_given_back_can_be_canceled(self, store: Subject) -> None:
        header, [first] = await queued(store)
        [lease] = await poll(store)
        await touch(store, lease, is_given_back=True)

        assert await release(store, header.workflow_id, first.task_id) == ACCEPTED
        assert await poll(store) == []

    async def test_a_task_may_go_straight_into_a_worker_s_hands(self, store: Subject) -> None:
        first = task(1)
        header = builders.workflow()
        given = builders.put_lease(header.workflow_id, first, timeout_ms=7)

        await accept(store, start(header, put_task(first), given))

        assert await leases(store, header.workflow_id) == [given.lease]
        assert await poll(store) == []
        assert (await store.due(given.lease.expires_at_ms, 9)).leases == [given.lease]
        assert await touch(store, given.lease, now_ms=LATER_MS)
        verdict = await release(store, header.workflow_id, first.task_id, poll_count=1)
        assert verdict == ACCEPTED

    async def test_a_lease_given_straight_can_be_given_back(self, store: Subject) -> None:
        first = task(1)
        header = builders.workflow()
        given = builders.put_lease(header.workflow_id, first)
        await accept(store, start(header, put_task(first), given))

        assert await touch(store, given.lease, is_given_back=True)

        [again] = await poll(store)
        assert (again.task_id, again.poll_count) == (first.task_id, 1)

    async def test_a_lease_may_pass_straight_to_the_next_worker(self, store: Subject) -> None:
        header, [first] = await queued(store)
        await poll(store)
        given = builders.put_lease(header.workflow_id, first, worker_id="w2", poll_count=2)

        done = Release(task_id=first.task_id, poll_count=1)
        await accept(store, step(header.workflow_id, 1, done, given))

        assert await leases(store, header.workflow_id) == [given.lease]

    async def test_a_worker_s_leases_are_found_by_its_id(self, store: Subject) -> None:
        await queued(store, 3)
        mine = [*await poll(store), *await poll(store, count=1)]
        other = builders.claim(count=1, worker_id="w2")
        committed = await store.commit(batch(claims=[other]))

        assert await store.held_by("w1") == mine
        assert [await store.held_by("w2")] == committed.claimed
        assert await store.held_by("w") == await store.held_by("") == []

    async def test_a_lease_without_a_worker_s_id_is_held_by_nobody_named(
        self, store: Subject
    ) -> None:
        await queued(store)
        await store.commit(batch(claims=[builders.claim(worker_id=None)]))

        assert await store.held_by("") == await store.held_by("None") == []

    async def test_an_expired_lease_is_still_its_worker_s_until_it_is_released(
        self, store: Subject
    ) -> None:
        header, [first] = await queued(store)
        [lease] = await poll(store)
        await accept(store, builders.start(builders.workflow()), now_ms=lease.expires_at_ms + 1)

        before = await store.held_by("w1")
        await release(store, header.workflow_id, first.task_id, poll_count=1)

        assert (before, await store.held_by("w1")) == ([lease], [])

    async def test_what_was_given_back_is_held_by_nobody(self, store: Subject) -> None:
        await queued(store)
        [lease] = await poll(store)
        await touch(store, lease, is_given_back=True)

        assert await store.held_by("w1") == []

    async def test_a_retired_task_of_an_ended_run_holds_no_lease(self, store: Subject) -> None:
        header, [first] = await queued(store)
        await poll(store)

        done = Release(task_id=first.task_id, poll_count=1)
        await accept(store, step(header.workflow_id, 1, done, builders.retire(first)))

        assert await leases(store, header.workflow_id) == []
