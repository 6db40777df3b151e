"""The query-only views: committed state, counted and listed."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from batuta.model.change import Release
from batuta.model.execution import Task, TaskStatus, Workflow, WorkflowStatus
from batuta.store.base import LogLine, QueueDepth
from batuta.testing import builders
from batuta.testing.builders import (
    NOW_MS,
    batch,
    log,
    put_task,
    put_workflow,
    start,
    step,
    task,
    workflow,
)
from batuta.testing.cases.subject import Subject, a_run, accept, poll, queued, touch


async def rows_written_by_one_completion(
    store: Subject, header: Workflow, tasks: Sequence[Task]
) -> int:
    """Complete the first task, which worker ``w1`` holds; return the rows that this wrote."""
    before = (await store.statistics())["rows_written"]
    done = replace(tasks[0], status=TaskStatus.COMPLETED)
    released = Release(task_id=tasks[0].task_id, poll_count=1)
    await accept(store, step(header.workflow_id, 1, put_task(done, tasks[0]), released))
    written: int = (await store.statistics())["rows_written"] - before
    return written


class SearchCases:
    """What status pages and search show."""

    async def test_the_newest_runs_come_first(self, store: Subject) -> None:
        offsets = [30, 10, 50, 20, 40]
        headers = [await a_run(store, created_at_ms=NOW_MS + offset) for offset in offsets]

        newest = await store.recent(limit=3)

        assert newest == [replace(headers[index], version=1) for index in (2, 4, 0)]
        assert len(await store.recent(limit=100)) == 5

    async def test_runs_are_found_by_status(self, store: Subject) -> None:
        running = await a_run(store, created_at_ms=NOW_MS)
        failed = await a_run(store, created_at_ms=NOW_MS + 1)
        after = replace(failed, status=WorkflowStatus.FAILED)
        await accept(store, step(failed.workflow_id, 1, put_workflow(after, failed)))

        assert await store.recent(limit=9, status="FAILED") == [replace(after, version=2)]
        assert [one.workflow_id for one in await store.recent(limit=9, status="RUNNING")] == [
            running.workflow_id
        ]
        assert await store.recent(limit=9, status="PAUSED") == []

    async def test_runs_are_counted_by_status(self, store: Subject) -> None:
        assert await store.counts() == {}
        for status in WorkflowStatus:
            await a_run(store, status=status)
        changed = await a_run(store)
        paused = replace(changed, status=WorkflowStatus.PAUSED)
        await accept(store, step(changed.workflow_id, 1, put_workflow(paused, changed)))

        expected = {status.value: 1 for status in WorkflowStatus}
        assert await store.counts() == {**expected, "PAUSED": 2}

    async def test_more_runs_than_are_counted_are_told_apart_from_as_many(
        self, store: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("batuta.store.query.tree.TOTAL_EXACT_MAX", 2)
        for status, count in (("FAILED", 1), ("RUNNING", 2), ("PAUSED", 3), ("COMPLETED", 4)):
            for _ in range(count):
                await a_run(store, status=WorkflowStatus(status))

        found = await store.counts()

        assert found == {"FAILED": 1, "RUNNING": 2, "PAUSED": 3, "COMPLETED": 3}

    async def test_queues_tell_their_depth(self, store: Subject) -> None:
        assert await store.queues() == []
        await queued(store, 3, queue="b", at_ms=NOW_MS + 20)
        await queued(store, 1, queue="b", at_ms=NOW_MS + 10, priority=-1)
        await queued(store, 1, queue="a")
        await poll(store, "b", 2)
        await poll(store, "a", 2)

        assert await store.queues() == [
            QueueDepth(queue="a", ready=0, leased=1),
            QueueDepth(queue="b", ready=2, leased=2, oldest_at_ms=NOW_MS + 10),
        ]

    async def test_what_is_given_back_is_ready_again(self, store: Subject) -> None:
        await queued(store)
        [lease] = await poll(store)
        await touch(store, lease, is_given_back=True, now_ms=NOW_MS + 9)

        assert await store.queues() == [
            QueueDepth(queue="build", ready=1, leased=0, oldest_at_ms=NOW_MS)
        ]

    async def test_the_log_of_a_task_is_told_oldest_first(self, store: Subject) -> None:
        first, second = task(1), task(2)
        header = await a_run(
            store,
            put_task(first),
            put_task(second),
            log(first, "one", NOW_MS + 10),
            log(second, "other"),
            log(first, "two é\n'\"\\", NOW_MS + 10),
        )
        await accept(store, step(header.workflow_id, 1, log(first, "", NOW_MS + 20)))
        await accept(store, step(header.workflow_id, 2, log(first, "zero", NOW_MS)))

        lines = await store.logs(first.task_id)

        assert lines == [
            LogLine(task_id=first.task_id, created_at_ms=NOW_MS + at_ms, line=line)
            for at_ms, line in [(0, "zero"), (10, "one"), (10, "two é\n'\"\\"), (20, "")]
        ]
        assert [line.line for line in await store.logs(second.task_id)] == ["other"]
        assert await store.logs(builders.new_id()) == []

    async def test_statistics_count_commits_and_rows(self, store: Subject) -> None:
        before = await store.statistics()

        await a_run(store, put_task(task(1)))

        after = await store.statistics()
        assert after["commits"] == before["commits"] + 1
        assert after["rows_written"] >= before["rows_written"] + 3, "run, task, journal"
        assert after["statements"] >= before["statements"]

    async def test_a_completion_in_a_long_run_writes_as_many_rows(self, store: Subject) -> None:
        written = []
        for size in (2, 500):
            tasks = [task(seq) for seq in range(1, size + 1)]
            header = workflow()
            puts = [put_task(one) for one in tasks]
            await accept(store, start(header, *puts, builders.enqueue(tasks[0])))
            await poll(store)
            written.append(await rows_written_by_one_completion(store, header, tasks))

        assert written[0] == written[1]
        assert written[0] <= 9

    async def test_views_commit_nothing(self, store: Subject) -> None:
        header, [first] = await queued(store)
        before = await store.statistics()

        await store.load([(header.workflow_id, 0)])
        await store.due(NOW_MS, 9)
        await store.find_task(first.task_id)
        await store.recent(limit=9)
        await store.counts()
        await store.queues()
        await store.logs(first.task_id)

        after = await store.statistics()
        assert (after["commits"], after["rows_written"]) == (
            before["commits"],
            before["rows_written"],
        )

    async def test_a_batch_is_one_commit(self, store: Subject) -> None:
        before = await store.statistics()

        await store.commit(batch(*[start(workflow()) for _ in range(20)]))

        assert (await store.statistics())["commits"] == before["commits"] + 1
