"""Queues: what is offered, who gets it, in which order; changes act in their order."""

import asyncio

from batuta.model.change import Release
from batuta.model.execution import Lease
from batuta.testing import builders
from batuta.testing.builders import LEASE_MS, NOW_MS, batch, claim, put_task, start, step, task
from batuta.testing.cases.subject import Subject, a_run, accept, loaded, poll, queued, touch

LATER_MS = NOW_MS + 5_000


class QueueCases:
    """Enqueue and claim."""

    async def test_a_ready_task_is_leased_to_who_claims_it(self, store: Subject) -> None:
        header, [first] = await queued(store)

        committed = await store.commit(batch(now_ms=LATER_MS, claims=[claim(worker_id="host-7")]))

        lease = Lease(
            task_id=first.task_id,
            workflow_id=header.workflow_id,
            queue="build",
            worker_id="host-7",
            poll_count=1,
            started_at_ms=LATER_MS,
            polled_at_ms=LATER_MS,
            expires_at_ms=LATER_MS + LEASE_MS,
            lease_ms=LEASE_MS,
            timeout_ms=0,
        )
        assert committed.claimed == [[lease]]
        assert (await loaded(store, header.workflow_id)).leases == [lease]

    async def test_a_poll_is_not_a_new_version_of_the_run(self, store: Subject) -> None:
        header, _ = await queued(store)
        before = await loaded(store, header.workflow_id)

        [lease] = await poll(store)
        await touch(store, lease)

        after = await loaded(store, header.workflow_id)
        assert (after.workflow, after.tasks) == (before.workflow, before.tasks)
        assert len(await store.read_after(0, limit=10)) == 1

    async def test_a_worker_may_be_nameless(self, store: Subject) -> None:
        await queued(store)

        committed = await store.commit(batch(claims=[claim(worker_id=None)]))

        assert committed.claimed[0][0].worker_id is None

    async def test_a_task_is_handed_out_once(self, store: Subject) -> None:
        await queued(store)

        assert len(await poll(store)) == 1
        assert await poll(store) == []

    async def test_the_most_urgent_task_comes_first(self, store: Subject) -> None:
        tasks = [task(seq) for seq in range(1, 7)]
        places = [(0, 20), (0, 10), (5, 30), (0, 10), (5, 30), (-1, 0)]
        offers = [
            builders.enqueue(one, priority=priority, at_ms=NOW_MS + at_ms)
            for one, (priority, at_ms) in zip(tasks, places, strict=True)
        ]
        await a_run(store, *[put_task(one) for one in tasks], *reversed(offers))
        seqs = {one.task_id: one.seq for one in tasks}

        leases = await poll(store, count=4) + await poll(store, count=4)

        assert [seqs[lease.task_id] for lease in leases] == [3, 5, 2, 4, 1, 6]

    async def test_queues_are_apart(self, store: Subject) -> None:
        names = ["build", "Build", "build ", "gpu:build", "ü", "a'b", "%", "build_"]
        for name in names:
            await queued(store, queue=name)

        committed = await store.commit(batch(claims=[claim(name, 9) for name in names]))

        assert [[lease.queue for lease in leases] for leases in committed.claimed] == [
            [name] for name in names
        ]
        assert await poll(store, "nobody's") == []

    async def test_a_claim_gets_fewer_when_there_are_fewer(self, store: Subject) -> None:
        _, tasks = await queued(store, 3)

        leases = await poll(store, count=100)

        assert [lease.task_id for lease in leases] == [one.task_id for one in tasks]

    async def test_claims_of_one_queue_are_served_first_come_first_served(
        self, store: Subject
    ) -> None:
        _, tasks = await queued(store, 4)
        await queued(store, 1, queue="test")
        ids = [one.task_id for one in tasks]

        committed = await store.commit(
            batch(
                claims=[
                    claim(count=2, worker_id="w1"),
                    claim("test", count=5, worker_id="w2"),
                    claim(count=1, worker_id="w3"),
                    claim(count=5, worker_id="w4"),
                    claim(count=5, worker_id="w5"),
                ]
            )
        )

        given = [[lease.task_id for lease in leases] for leases in committed.claimed]
        assert [given[0], given[2], given[3], given[4]] == [ids[:2], ids[2:3], ids[3:], []]
        assert [[lease.worker_id for lease in leases] for leases in committed.claimed] == [
            ["w1", "w1"],
            ["w2"],
            ["w3"],
            ["w4"],
            [],
        ]

    async def test_a_claim_sees_what_its_own_batch_enqueues(self, store: Subject) -> None:
        first = task(1)

        committed = await accept(
            store,
            start(builders.workflow(), put_task(first), builders.enqueue(first)),
            claims=[claim()],
        )

        assert [lease.task_id for lease in committed.claimed[0]] == [first.task_id]

    async def test_a_claim_does_not_get_what_its_own_batch_releases(self, store: Subject) -> None:
        header, [first] = await queued(store)
        cancel = step(header.workflow_id, 1, Release(task_id=first.task_id))

        committed = await accept(store, cancel, claims=[claim()])

        assert committed.claimed == [[]]
        assert await store.queues() == []

    async def test_a_claim_gets_what_its_own_batch_gives_back(self, store: Subject) -> None:
        _, [first] = await queued(store)
        [lease] = await poll(store)

        committed = await accept(store, touches=[builders.give_back(lease)], claims=[claim()])

        assert committed.touched == [True]
        assert [(one.task_id, one.poll_count) for one in committed.claimed[0]] == [
            (first.task_id, 1)
        ]

    async def test_claimers_at_once_share_the_tasks(self, store: Subject) -> None:
        _, tasks = await queued(store, 20)

        shares = await asyncio.gather(*[poll(store, count=3) for _ in range(10)])

        given = [lease.task_id for leases in shares for lease in leases]
        assert sorted(given) == [one.task_id for one in tasks]

    async def test_the_timeout_ends_a_lease_that_would_last_longer(self, store: Subject) -> None:
        await queued(store, timeout_ms=LEASE_MS - 1)
        await queued(store, queue="long", timeout_ms=LEASE_MS + 1)

        [short] = await poll(store, now_ms=LATER_MS)
        [long] = await poll(store, "long", now_ms=LATER_MS)

        assert short.expires_at_ms == LATER_MS + LEASE_MS - 1
        assert short.timeout_ms == LEASE_MS - 1
        assert long.expires_at_ms == LATER_MS + LEASE_MS

    async def test_a_task_offered_again_keeps_its_polls_and_its_first_start(
        self, store: Subject
    ) -> None:
        header, [first] = await queued(store, timeout_ms=LEASE_MS)
        [lease] = await poll(store)
        again = builders.enqueue(
            first,
            at_ms=LATER_MS,
            timeout_ms=LEASE_MS,
            poll_count=lease.poll_count,
            started_at_ms=lease.started_at_ms,
        )
        done = Release(task_id=first.task_id, poll_count=1)
        await accept(store, step(header.workflow_id, 1, done, again))

        [second] = await poll(store, now_ms=LATER_MS)

        assert (second.poll_count, second.started_at_ms) == (2, NOW_MS)
        assert (second.polled_at_ms, second.expires_at_ms) == (LATER_MS, NOW_MS + LEASE_MS)

    async def test_an_offer_taken_back_in_the_same_decision_is_gone(self, store: Subject) -> None:
        first = task(1)
        offer, back = builders.enqueue(first), Release(task_id=first.task_id)
        await a_run(store, put_task(first), offer, back)

        assert await poll(store) == []

    async def test_an_offer_made_anew_in_the_same_decision_is_the_last_one(
        self, store: Subject
    ) -> None:
        header, [first] = await queued(store)
        offer = builders.enqueue(first, "other")

        await accept(store, step(header.workflow_id, 1, Release(task_id=first.task_id), offer))

        assert await poll(store) == []
        assert [lease.task_id for lease in await poll(store, "other")] == [first.task_id]

    async def test_a_task_given_up_and_then_canceled_in_one_decision_is_gone(
        self, store: Subject
    ) -> None:
        header, [first] = await queued(store)
        await poll(store)
        # Two commands of one batch: its holder puts it back, then somebody ends the run. The
        # second Release has seen the decision's own state, in which there is no lease.
        given_up = Release(task_id=first.task_id, poll_count=1)
        offer = builders.enqueue(first, poll_count=1, started_at_ms=NOW_MS)
        canceled = Release(task_id=first.task_id)

        await accept(store, step(header.workflow_id, 1, given_up, offer, canceled, commands=2))

        assert await poll(store) == []
        assert (await loaded(store, header.workflow_id)).leases == []

    async def test_a_hundred_offers_and_claims_fit_in_one_batch(self, store: Subject) -> None:
        runs = []
        for number in range(100):
            first = task(1)
            offer = builders.enqueue(first, f"queue{number % 7}")
            runs.append(start(builders.workflow(), put_task(first), offer))

        committed = await accept(
            store, *runs, claims=[claim(f"queue{number % 7}") for number in range(100)]
        )

        assert [leases[0].queue for leases in committed.claimed] == [
            f"queue{number % 7}" for number in range(100)
        ]
        assert len({leases[0].task_id for leases in committed.claimed}) == 100
