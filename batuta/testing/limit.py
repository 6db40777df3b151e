"""Limits: what a claim gets of a queue's parts, by what is held and taken already."""

from batuta.model.execution import Lease
from batuta.model.limit import Limit, LimitUse, part_name
from batuta.store.base import Claim, Part
from batuta.testing import builders
from batuta.testing.builders import NOW_MS
from batuta.testing.cases.subject import Subject, accept, poll, queued, touch

PART = part_name("build", "slow")
TWO = Limit(held_max=2)
WINDOW_MS = 60_000


def claim(*parts: Part, queue: str = "build", count: int = 1) -> Claim:
    """Return a wish for tasks of a queue and of parts of it."""
    return Claim(queue=queue, worker_id="w1", count=count, parts=list(parts))


async def claimed(
    store: Subject, limit: Limit | None, *, count: int = 1, part: str = PART, now_ms: int = NOW_MS
) -> list[Lease]:
    """Claim from a queue with one part, in a batch of its own."""
    wish = claim(Part(part, limit), queue=part.partition("\x1f")[0], count=count)
    return (await accept(store, claims=[wish], now_ms=now_ms)).claimed[0]


class LimitCases:
    """Claims under limits."""

    async def test_a_part_gives_no_more_than_may_be_held(self, store: Subject) -> None:
        await queued(store, 5, queue=PART)

        first = await claimed(store, TWO, count=4)
        assert len(first) == 2
        assert {lease.queue for lease in first} == {PART}
        assert await claimed(store, TWO, count=4) == []
        assert await store.limit_use("slow", 0) == LimitUse(held=2, taken=0)

    async def test_what_is_given_back_makes_room(self, store: Subject) -> None:
        await queued(store, 3, queue=PART)
        [one, _] = await claimed(store, TWO, count=2)

        await touch(store, one, is_given_back=True)
        [again] = await claimed(store, TWO, count=2)
        assert again.task_id == one.task_id

    async def test_parts_of_other_queues_count_under_the_same_key(self, store: Subject) -> None:
        await queued(store, 2, queue=PART)
        await queued(store, 2, queue=part_name("lab:build", "slow"))

        assert len(await claimed(store, TWO, part=part_name("lab:build", "slow"))) == 1
        assert len(await claimed(store, TWO, count=2)) == 1

    async def test_other_keys_and_the_queue_itself_are_not_held_up(self, store: Subject) -> None:
        await queued(store, 3, queue=PART)
        await queued(store, 2, queue="build")
        await queued(store, 2, queue=part_name("build", "fast"))
        wish = claim(Part(PART, Limit(held_max=1)), Part(part_name("build", "fast"), None), count=9)

        [leases] = (await accept(store, claims=[wish])).claimed
        names = sorted(lease.queue for lease in leases)
        assert names == ["build", "build", *[part_name("build", "fast")] * 2, PART]

    async def test_the_most_urgent_of_queue_and_parts_come_first(self, store: Subject) -> None:
        await queued(store, queue="build", priority=1)
        await queued(store, queue=PART, priority=5)
        await queued(store, queue="build", priority=3)

        order = [(await claimed(store, TWO))[0].queue for _ in range(3)]
        assert order == [PART, "build", "build"]

    async def test_claims_of_one_batch_share_what_a_limit_leaves(self, store: Subject) -> None:
        await queued(store, 5, queue=PART)
        wishes = [claim(Part(PART, TWO)) for _ in range(4)]

        committed = await store.commit(builders.batch(claims=wishes))
        assert [len(leases) for leases in committed.claimed] == [1, 1, 0, 0]

    async def test_a_limit_that_is_lifted_holds_nothing_back(self, store: Subject) -> None:
        await queued(store, 4, queue=PART)
        await claimed(store, TWO, count=4)

        assert len(await claimed(store, None, count=4)) == 2

    async def test_a_rate_counts_what_was_taken_in_the_window(self, store: Subject) -> None:
        rate = Limit(taken_max=3, window_ms=WINDOW_MS)
        await queued(store, 9, queue=PART)

        assert len(await claimed(store, rate, count=2)) == 2
        later_ms = NOW_MS + WINDOW_MS // 2
        assert len(await claimed(store, rate, count=2, now_ms=later_ms)) == 1
        assert await store.limit_use("slow", NOW_MS - 1) == LimitUse(held=3, taken=3)

        end_ms = NOW_MS + WINDOW_MS
        assert len(await claimed(store, rate, count=9, now_ms=end_ms - 1)) == 0
        assert len(await claimed(store, rate, count=9, now_ms=end_ms)) == 2
        assert (await store.limit_use("slow", end_ms - WINDOW_MS)).taken == 3

    async def test_a_claim_without_parts_gets_none_of_them(self, store: Subject) -> None:
        await queued(store, 2, queue=PART)

        assert await poll(store, count=2) == []

    async def test_parts_that_have_ready_tasks_are_named(self, store: Subject) -> None:
        assert await store.parts() == []
        await queued(store, 2, queue=PART)
        await queued(store, 1, queue=part_name("lab:build", "slow"))
        await queued(store, 1, queue="build")

        assert sorted(await store.parts()) == [PART, part_name("lab:build", "slow")]
        await claimed(store, None, count=9)
        assert await store.parts() == [part_name("lab:build", "slow")]
