"""The journal: one entry for each version, in commit order, foldable; and store time."""

import asyncio

from msgspec.structs import replace

from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.store.base import Entry, RunChanges
from batuta.testing import builders
from batuta.testing.builders import (
    NOW_MS,
    batch,
    put_task,
    put_workflow,
    retire,
    start,
    step,
    task,
)
from batuta.testing.cases.subject import ACCEPTED, STALE, Subject, a_run, accept, loaded
from batuta.testing.journal import fold_journal, read_all


class JournalCases:
    """What is remembered of every command."""

    async def test_entries_come_back_as_they_were_written(self, store: Subject) -> None:
        header = builders.workflow()
        entries = [
            Entry(
                version=number,
                at_ms=NOW_MS + number,
                kind="start" if number == 1 else "update",
                actor="somebody@é",
                request_id=f"r'{number}",
                changed=changed,
            )
            for number, changed in enumerate(
                [b'{"w":{"n":"\xc3\xa9 \\" \\\\ "}}', b"{}", b'{"t":{"1":{"rc":1.5}},"x":[2,3]}'],
                start=1,
            )
        ]
        run = RunChanges(
            workflow_id=header.workflow_id,
            version_from=0,
            version_to=3,
            changes=[put_workflow(header)],
            entries=entries,
        )

        await accept(store, run)

        rows = await store.read_after(0, limit=10)
        assert [row.entry for row in rows] == entries
        assert {row.workflow_id for row in rows} == {header.workflow_id}

    async def test_an_entry_without_actor_and_request_stays_without(self, store: Subject) -> None:
        await a_run(store)

        [row] = await store.read_after(0, limit=10)

        assert (row.entry.actor, row.entry.request_id) == ("", "")

    async def test_rows_stand_in_commit_order(self, store: Subject) -> None:
        one, two = await a_run(store), await a_run(store)
        await accept(
            store, step(two.workflow_id, 1, commands=2), step(one.workflow_id, 1, commands=2)
        )
        pair = builders.together(step(two.workflow_id, 3), step(one.workflow_id, 3))
        await store.commit(batch(pair))

        rows = await store.read_after(0, limit=100)

        names = {one.workflow_id: "one", two.workflow_id: "two"}
        assert [(names[row.workflow_id], row.entry.version) for row in rows] == [
            ("one", 1),
            ("two", 1),
            ("two", 2),
            ("two", 3),
            ("one", 2),
            ("one", 3),
            ("two", 4),
            ("one", 4),
        ]
        positions = [row.position for row in rows]
        assert positions == sorted(set(positions))
        assert positions[0] > 0

    async def test_the_journal_is_read_from_where_one_left_off(self, store: Subject) -> None:
        header = await a_run(store)
        await accept(store, step(header.workflow_id, 1, commands=9))
        rows = await store.read_after(0, limit=100)

        assert await store.read_after(0, limit=4) == rows[:4]
        assert await store.read_after(rows[3].position, limit=4) == rows[4:8]
        assert await store.read_after(rows[9].position, limit=4) == []

    async def test_the_journal_of_one_run_can_be_read_alone(self, store: Subject) -> None:
        one, two = await a_run(store), await a_run(store)
        for version in range(1, 4):
            await accept(store, step(one.workflow_id, version), step(two.workflow_id, version))

        every = await store.read_after(0, limit=100)
        only = await store.read_after(0, limit=100, workflow_id=two.workflow_id)
        later = await store.read_after(only[1].position, limit=1, workflow_id=two.workflow_id)

        assert only == [row for row in every if row.workflow_id == two.workflow_id]
        assert later == [only[2]]

    async def test_positions_follow_commits_under_rivalry(self, store: Subject) -> None:
        headers = [await a_run(store) for _ in range(10)]
        before = await store.read_after(0, limit=100)

        await asyncio.gather(
            *[store.commit(batch(step(header.workflow_id, 1, commands=3))) for header in headers]
        )

        rows = await store.read_after(before[-1].position, limit=100)
        together = [row.workflow_id for row in rows[::3]]
        assert [row.workflow_id for row in rows] == [one for one in together for _ in range(3)]
        assert sorted(together) == sorted(header.workflow_id for header in headers)

    async def test_a_refused_decision_leaves_no_entry(self, store: Subject) -> None:
        header = await a_run(store)

        committed = await store.commit(batch(step(header.workflow_id, 4)))

        assert committed.verdicts == [STALE]
        assert len(await store.read_after(0, limit=10)) == 1

    async def test_an_unknown_outcome_can_be_read_back(self, store: Subject) -> None:
        header, other = await a_run(store), await a_run(store)
        run = header.workflow_id
        await accept(store, step(run, 1, request_id="mine"))
        await accept(store, step(run, 2, commands=2, request_id="theirs"))

        assert await store.settled(
            [
                (run, 2, "mine"),
                (run, 3, "mine"),
                (run, 4, "theirs"),
                (run, 5, "theirs"),
                (other.workflow_id, 2, "mine"),
                (builders.new_id(), 2, "mine"),
                ("not a uuid", 2, "mine"),
                (run, 1, ""),
                (run, 2, ""),
            ]
        ) == [True, False, True, False, False, False, False, True, False]
        assert await store.settled([]) == []

    async def test_folding_the_journal_gives_what_load_gives(self, store: Subject) -> None:
        first, second, third = task(1), task(2, status=TaskStatus.IN_PROGRESS), task(3)
        header = builders.workflow(correlation_id="c", task_to_domain={"*": "x"}, seq_last=2)
        run, at_ms = header.workflow_id, NOW_MS + 1_000
        await accept(store, start(header, put_task(first), put_task(second)))
        failed = replace(
            first, status=TaskStatus.FAILED, reason="no", is_retried=True, updated_at_ms=at_ms
        )
        open_again = replace(header, seq_last=3, failed_references=("a", "b"), reason="r")
        await accept(
            store,
            step(
                run,
                1,
                put_task(failed, first),
                put_task(replace(third, updated_at_ms=at_ms)),
                put_workflow(open_again, header),
                at_ms=at_ms,
            ),
            now_ms=at_ms,
        )
        done = replace(open_again, status=WorkflowStatus.COMPLETED, reason=None, epoch=1)
        await accept(store, step(run, 2, retire(second), commands=2))
        await accept(store, step(run, 4, put_workflow(done, open_again), at_ms=NOW_MS + 2_000))

        workflow, tasks = fold_journal(await read_all(store, run))

        found = await loaded(store, run)
        assert workflow == found.workflow
        assert tasks == {one.seq: one for one, _, _ in found.tasks}
        assert found.workflow.updated_at_ms == NOW_MS + 2_000

    async def test_store_time_never_goes_back(self, store: Subject) -> None:
        told_ms = await store.now_ms()
        ahead_ms = told_ms + 5_000
        header = builders.workflow()
        await store.commit(batch(start(header), now_ms=ahead_ms))
        await store.commit(batch(step(header.workflow_id, 1), now_ms=told_ms))

        times = [await store.now_ms() for _ in range(3)]

        assert times[0] >= ahead_ms
        assert times == sorted(times)

    async def test_an_empty_batch_is_committed(self, store: Subject) -> None:
        committed = await store.commit(batch())

        assert (committed.verdicts, committed.claimed, committed.touched) == ([], [], [])

    async def test_closing_finishes_the_commit_in_flight(self, store: Subject) -> None:
        header = await a_run(store)

        committed, _ = await asyncio.gather(
            store.commit(batch(step(header.workflow_id, 1))), store.close()
        )

        assert committed.verdicts == [ACCEPTED]

    async def test_closing_twice_is_closing_once(self, store: Subject) -> None:
        await store.close()
        await store.close()
