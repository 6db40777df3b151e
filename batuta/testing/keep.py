"""Removing what is old: what is to go is found, and goes; nothing else does."""

from typing import Any

from batuta.model.change import Reserve, Send
from batuta.model.command import PauseWorkflow
from batuta.model.execution import Task, Workflow, WorkflowStatus
from batuta.model.payload import Payload
from batuta.store.keep import Ended
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, put_task, put_workflow, step, task
from batuta.testing.cases.subject import Subject, a_run, accept, loaded
from batuta.testing.journal import read_all

COMPLETED = WorkflowStatus.COMPLETED
FAILED = WorkflowStatus.FAILED
LARGE = Payload(b'"' + b"x" * 100_000 + b'"')
ALL = ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"]
ROWS = 100


async def ended(store: Subject, ended_at_ms: int, *changes: Any, **fields: Any) -> Workflow:
    """Store a run that has ended."""
    status = fields.pop("status", COMPLETED)
    return await a_run(store, *changes, status=status, ended_at_ms=ended_at_ms, **fields)


async def found(store: Subject, statuses: Any = ALL, **asked: Any) -> list[str]:
    """Return the ids of the runs of ``pipeline`` that are to go."""
    wanted = {"before_ms": 0, "keep_count": 0, "limit": 100} | asked
    return [run.workflow_id for run in await store.find_ended("pipeline", statuses, **wanted)]


async def purged(store: Subject, *headers: Workflow, rows_max: int = ROWS) -> list[str]:
    """Purge runs as they are at version 1."""
    runs = [Ended(header.workflow_id, 1) for header in headers]
    return await store.purge(runs, now_ms=NOW_MS + 5, rows_max=rows_max)


class KeepCases:
    """Finding, purging, trimming."""

    async def test_names_are_those_of_ended_runs(self, store: Subject) -> None:
        await a_run(store, name="open")
        for name in ("b", "a", "b", "é"):
            await ended(store, NOW_MS, name=name)

        assert await store.ended_names() == ["a", "b", "é"]

    async def test_runs_that_ended_before_a_time_are_found_oldest_first(
        self, store: Subject
    ) -> None:
        late = await ended(store, NOW_MS + 2)
        early = await ended(store, NOW_MS + 1)
        await ended(store, NOW_MS + 3)
        await ended(store, NOW_MS, name="another")
        await a_run(store)

        assert await found(store, before_ms=NOW_MS + 3) == [early.workflow_id, late.workflow_id]
        assert await found(store, before_ms=NOW_MS + 3, limit=1) == [early.workflow_id]

    async def test_runs_beyond_a_number_are_found(self, store: Subject) -> None:
        runs = [(await ended(store, NOW_MS + at)).workflow_id for at in (1, 2, 2, 3)]

        assert await found(store, keep_count=2) == runs[:2]
        assert await found(store, keep_count=2, before_ms=NOW_MS + 3) == runs[:3]
        assert await found(store, keep_count=3, before_ms=NOW_MS + 1) == runs[:1]
        assert await found(store, keep_count=4) == []
        assert await found(store) == []

    async def test_only_runs_of_the_statuses_are_found_and_counted(self, store: Subject) -> None:
        first = await ended(store, NOW_MS + 1, status=FAILED)
        for at in (2, 3):
            await ended(store, NOW_MS + at)
        await ended(store, NOW_MS + 4, status=FAILED)

        assert await found(store, ["FAILED", "TIMED_OUT"], keep_count=1) == [first.workflow_id]
        assert await found(store, ["TERMINATED"], before_ms=NOW_MS + 9) == []

    async def test_a_run_with_an_open_ancestor_is_not_found_and_not_purged(
        self, store: Subject
    ) -> None:
        top = await a_run(store, name="top")
        parent = await ended(store, NOW_MS, name="parent", parent_id=top.workflow_id)
        child = await ended(store, NOW_MS, parent_id=parent.workflow_id)

        assert await found(store, before_ms=NOW_MS + 9) == []
        assert await purged(store, child) == []

        over = builders.workflow(
            workflow_id=top.workflow_id, name="top", status=FAILED, ended_at_ms=NOW_MS
        )
        await accept(store, step(top.workflow_id, 1, put_workflow(over, top)))
        assert await found(store, before_ms=NOW_MS + 9) == [child.workflow_id]
        assert await purged(store, parent) == [parent.workflow_id]
        assert await found(store, before_ms=NOW_MS + 9) == [child.workflow_id]

    async def test_a_run_that_is_to_be_told_something_is_left_alone(self, store: Subject) -> None:
        header = await ended(store, NOW_MS)
        await a_run(store, Send(PauseWorkflow(header.workflow_id)))

        assert await found(store, before_ms=NOW_MS + 9) == []
        assert await purged(store, header) == []

    async def test_a_purged_run_is_gone_and_its_journal_says_so(self, store: Subject) -> None:
        first = task(1)
        reserve = Reserve(scope="key", key="k", workflow_id="", until_ms=NOW_MS + 99)
        header = builders.workflow(status=COMPLETED, ended_at_ms=NOW_MS)
        mine = Reserve(
            scope=reserve.scope,
            key=reserve.key,
            workflow_id=header.workflow_id,
            until_ms=reserve.until_ms,
        )
        put = put_task(first, input=LARGE, output=LARGE)
        await accept(store, builders.start(header, put, builders.log(first, "a line"), mine))
        other = await ended(store, NOW_MS, put_task(task(1), output=LARGE))

        assert await purged(store, header) == [header.workflow_id]

        assert await store.load([(header.workflow_id, 0)]) == {}
        assert await store.find_task(first.task_id) is None
        assert await store.logs(first.task_id) == []
        gone = (header.workflow_id, 1, "output")
        assert await store.find_payloads([gone, (other.workflow_id, 1, "output")]) == [None, LARGE]
        last = (await read_all(store))[-1]
        assert (last.workflow_id, last.entry.version) == (header.workflow_id, 2)
        assert (last.entry.kind, last.entry.actor) == ("remove", "retention")
        assert await store.now_ms() >= NOW_MS + 5
        again = builders.workflow()
        mine = Reserve(scope="key", key="k", workflow_id=again.workflow_id, until_ms=NOW_MS + 99)
        await accept(store, builders.start(again, mine))

    async def test_a_run_that_moved_on_or_was_opened_again_is_not_purged(
        self, store: Subject
    ) -> None:
        moved = await ended(store, NOW_MS)
        await accept(store, step(moved.workflow_id, 1))
        is_open = await a_run(store)
        gone = builders.workflow()

        assert await purged(store, moved, is_open, gone) == []
        assert await purged(store) == []

        assert (await loaded(store, moved.workflow_id)).workflow.version == 2
        assert (await loaded(store, is_open.workflow_id)).workflow.version == 1

    async def test_a_large_run_goes_at_once_and_its_rows_in_slices(self, store: Subject) -> None:
        tasks = [task(seq) for seq in range(1, 6)]
        puts = [put_task(one, output=LARGE) for one in tasks]
        header = await ended(store, NOW_MS, *puts)
        await ended(store, NOW_MS)

        assert await purged(store, header, rows_max=2) == [header.workflow_id]

        assert await store.load([(header.workflow_id, 0)]) == {}
        await a_run(store)  # the journal's last row is another's now
        trimmed = [await trim(store, rows_max=2) for _ in range(4)]
        assert trimmed == [2, 2, 1, 0]
        assert [await store.find_task(one.task_id) for one in tasks] == [None] * 5
        assert await read_all(store, header.workflow_id) == []

    async def test_the_journal_keeps_its_last_row(self, store: Subject) -> None:
        header = await ended(store, NOW_MS)
        await purged(store, header)

        assert await trim(store) == 0
        following = await a_run(store)

        rows = await read_all(store)
        assert rows[-1].workflow_id == following.workflow_id
        assert rows[-1].position == 3
        await trim(store)
        assert [row.position for row in await read_all(store)] == [3]

    async def test_removals_that_are_young_or_unread_stay(self, store: Subject) -> None:
        header = await ended(store, NOW_MS)
        await purged(store, header)
        await a_run(store)

        assert await trim(store, before_ms=NOW_MS + 5) == 0
        assert await trim(store, position_max=1) == 0
        assert await trim(store, position_max=2) == 2

    async def test_retired_tasks_of_an_open_run_go_when_they_are_old(self, store: Subject) -> None:
        first, second = task(1), task(2)
        logged = builders.log(first, "a line")
        header = await a_run(store, put_task(first, output=LARGE), put_task(second), logged)
        await accept(store, step(header.workflow_id, 1, builders.retire(first), at_ms=NOW_MS + 7))

        assert await store.purge_retired(before_ms=NOW_MS + 7, rows_max=ROWS) == 0
        assert await store.purge_retired(before_ms=NOW_MS + 8, rows_max=ROWS) == 1

        assert await store.find_task(first.task_id) is None
        assert await store.logs(first.task_id) == []
        assert await store.find_payloads([(header.workflow_id, 1, "output")]) == [None]
        run = await loaded(store, header.workflow_id)
        assert seqs(run.tasks) == [2]
        assert run.retired == []

    async def test_retired_tasks_go_in_slices(self, store: Subject) -> None:
        tasks = [task(seq) for seq in range(1, 6)]
        header = await a_run(store, *map(put_task, tasks))
        await accept(store, step(header.workflow_id, 1, *map(builders.retire, tasks)))

        slices = [await store.purge_retired(before_ms=NOW_MS + 9, rows_max=2) for _ in range(4)]

        assert slices == [2, 2, 1, 0]


async def trim(store: Subject, **asked: Any) -> int:
    """Delete what is left of removed runs."""
    wanted = {"before_ms": NOW_MS + 6, "position_max": None, "rows_max": ROWS} | asked
    return await store.purge_removed(**wanted)


def seqs(tasks: list[tuple[Task, Any, Any]]) -> list[int]:
    """Return the seqs of loaded tasks."""
    return [row[0].seq for row in tasks]
