"""The readers of the journal: one node holds each, and each goes on where it left off."""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from batuta.store.cursor import Cursor
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, step
from batuta.testing.cases.subject import Subject, a_run, accept

LATER_MS = NOW_MS + 1_000


async def take(
    store: Subject, owner: str, now_ms: int = NOW_MS, until_ms: int = LATER_MS, name: str = "one"
) -> Cursor:
    """Take a cursor."""
    return await store.cursors.take(name, owner, now_ms=now_ms, until_ms=until_ms)


class CursorCases:
    """What is remembered of a reader."""

    async def test_a_new_reader_begins_at_the_end_of_the_journal(self, store: Subject) -> None:
        assert (await take(store, "a", name="early")).position == 0
        header = await a_run(store)
        await accept(store, step(header.workflow_id, 1))
        end = await store.cursors.journal_end()

        taken = await take(store, "a")

        assert taken == Cursor(name="one", position=end, owner="a", until_ms=LATER_MS)
        assert await store.read_after(taken.position, limit=1) == []
        assert len(await store.read_after(taken.position - 1, limit=9)) == 1

    async def test_the_journal_s_end_is_the_position_of_its_last_entry(
        self, store: Subject
    ) -> None:
        assert await store.cursors.journal_end() == 0
        header = await a_run(store)
        await accept(store, step(header.workflow_id, 1, commands=3))

        rows = await store.read_after(0, limit=9)

        assert await store.cursors.journal_end() == rows[-1].position

    async def test_a_reader_goes_on_where_it_left_off(self, store: Subject) -> None:
        first = await take(store, "a")

        assert await store.cursors.move("one", "a", position=7, until_ms=LATER_MS + 1)

        assert await take(store, "a") == replace(first, position=7)
        assert await store.cursors.all() == [replace(first, position=7)]

    async def test_a_cursor_never_goes_back(self, store: Subject) -> None:
        await take(store, "a")
        await store.cursors.move("one", "a", position=7, until_ms=LATER_MS)

        assert await store.cursors.move("one", "a", position=3, until_ms=LATER_MS + 5)

        [kept] = await store.cursors.all()
        assert (kept.position, kept.until_ms) == (7, LATER_MS + 5)

    async def test_nobody_takes_a_cursor_that_is_held(self, store: Subject) -> None:
        held = await take(store, "a")

        assert await take(store, "b", until_ms=LATER_MS + 9) == held
        assert await take(store, "b", now_ms=LATER_MS, until_ms=LATER_MS + 9) == held
        assert not await store.cursors.move("one", "b", position=9, until_ms=LATER_MS)
        assert await store.cursors.all() == [held]

    async def test_a_cursor_that_was_not_renewed_is_taken_over(self, store: Subject) -> None:
        await take(store, "a")
        await store.cursors.move("one", "a", position=4, until_ms=LATER_MS)

        taken = await take(store, "b", now_ms=LATER_MS + 1, until_ms=LATER_MS + 9)

        assert (taken.owner, taken.position) == ("b", 4)
        assert not await store.cursors.move("one", "a", position=9, until_ms=LATER_MS + 99)
        assert await store.cursors.all() == [taken]

    async def test_readers_are_apart_from_each_other(self, store: Subject) -> None:
        await take(store, "a", name="two é")
        await take(store, "b", name="one")
        await store.cursors.move("two é", "a", position=5, until_ms=0)

        found = [(cursor.name, cursor.position) for cursor in await store.cursors.all()]

        assert found == [("one", 0), ("two é", 5)]

    async def test_a_reader_can_be_forgotten(self, store: Subject) -> None:
        await take(store, "a")

        assert await store.cursors.drop("one")
        assert not await store.cursors.drop("one")
        assert await store.cursors.all() == []
        assert not await store.cursors.move("one", "a", position=1, until_ms=LATER_MS)

    async def test_what_a_reader_has_not_read_of_runs_is_told(self, store: Subject) -> None:
        one, two, three = [await a_run(store) for _ in range(3)]
        await accept(store, step(two.workflow_id, 1))
        rows = await store.read_after(0, limit=9)
        last = [(row.workflow_id, row.entry.version) for row in rows[1:]]
        asked = [(one.workflow_id, 1), (two.workflow_id, 2), (three.workflow_id, 1)]

        assert [(two.workflow_id, 1), (three.workflow_id, 1), (two.workflow_id, 2)] == last
        assert await store.cursors.unread(asked, 0) == {run[0] for run in asked}
        assert await store.cursors.unread(asked, rows[2].position) == {two.workflow_id}
        assert await store.cursors.unread(asked, rows[3].position) == set()
        nobody = [(builders.new_id(), 1), ("not a uuid", 1), (one.workflow_id, 2)]
        assert await store.cursors.unread(nobody, 0) == set()
        assert await store.cursors.unread([], 0) == set()

    async def test_of_many_who_take_at_once_one_holds(self, store: Subject) -> None:
        owners = [f"node {number}" for number in range(8)]

        taken = await asyncio.gather(*[take(store, owner) for owner in owners])

        assert len({cursor.owner for cursor in taken}) == 1
        assert await take(store, taken[0].owner) == taken[0]


class CursorDurabilityCases:
    """What is there after a restart."""

    async def test_a_cursor_is_there_after_a_restart(
        self, store: Subject, reopen: Callable[[Subject], Awaitable[Subject]]
    ) -> None:
        await take(store, "a")
        await store.cursors.move("one", "a", position=3, until_ms=LATER_MS)
        before = await store.cursors.all()

        again = await reopen(store)

        assert await again.cursors.all() == before
        assert before[0].position == 3


class CursorRivalCases:
    """What two nodes see of each other's cursors."""

    async def test_two_nodes_never_hold_the_same_cursor(
        self, store: Subject, rival: Subject
    ) -> None:
        for number in range(20):
            name = f"sink {number}"
            mine, theirs = await asyncio.gather(
                take(store, "mine", name=name), take(rival, "theirs", name=name)
            )
            assert mine == theirs
            moved = await asyncio.gather(
                store.cursors.move(name, "mine", position=1, until_ms=LATER_MS),
                rival.cursors.move(name, "theirs", position=2, until_ms=LATER_MS),
            )
            assert sorted(moved) == [False, True]
