"""Runs: what a commit writes, a load brings, whole or only what is newer; and removal."""

from msgspec.structs import replace

from batuta.model.change import (
    AddLog,
    RemoveWorkflow,
    Reserve,
    RetireTask,
    Send,
    SetTimer,
)
from batuta.model.command import PauseWorkflow, TimerKind
from batuta.model.error import StoreError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, put_task, put_workflow, start, step, task, workflow
from batuta.testing.cases.subject import (
    STALE,
    Subject,
    a_run,
    accept,
    loaded,
    poll,
    queued,
    touch,
    version,
)

FOREIGN_IDS = ["", "w1", "0" * 36, "é", "'; --", "x" * 5_000, f"{builders.new_id()}0"]


class RunCases:
    """Commit and load."""

    async def test_a_new_run_can_be_loaded(self, store: Subject) -> None:
        header, first, second = workflow(), task(1), task(2)

        await accept(store, start(header, put_task(second), put_task(first)))

        found = await loaded(store, header.workflow_id)
        assert found.workflow == replace(header, version=1)
        assert found.tasks == [(first, None, None), (second, None, None)]
        assert (found.input, found.output, found.variables) == (None, None, None)
        assert (found.retired, found.leases) == ([], [])

    async def test_every_field_of_a_header_comes_back(self, store: Subject) -> None:
        header = workflow(
            definition_version=3,
            status=WorkflowStatus.PAUSED,
            ended_at_ms=NOW_MS + 1,
            last_retried_at_ms=NOW_MS + 2,
            correlation_id="order \U0001f3bc 'quoted' \"twice\" \\ \x01",
            priority=99,
            parent_id=builders.new_id(),
            parent_task_id=builders.new_id(),
            reason="a\nb",
            failed_task_id=builders.new_id(),
            failed_references=("a", "b__2"),
            failed_names=("build",),
            task_to_domain={"*": "gpu", "build": "ü"},
            event="event:x",
            owner="somebody",
            dialect="flow",
            epoch=2,
            seq_last=1,
            failure_workflow_id=builders.new_id(),
            parent_epoch=3,
        )
        first = task(
            1,
            node="a",
            reference_name="a__2",
            status=TaskStatus.COMPLETED_WITH_ERRORS,
            retry_count=2,
            iteration=2,
            queue="gpu:build",
            domain="gpu",
            poll_count=7,
            worker_id="w\u2028x",
            reason="ä" * 500,
            callback_after_ms=1,
            start_delay_ms=2,
            is_retried=True,
            is_executed=True,
            retried_task_id=builders.new_id(),
            child_id=builders.new_id(),
            child_epoch=4,
            join_on=("b", "c"),
            due_at_ms=2**53,
        )

        await accept(store, start(header, put_task(first)))

        found = await loaded(store, header.workflow_id)
        assert (found.workflow, found.tasks[0][0]) == (replace(header, version=1), first)

    async def test_load_leaves_out_runs_that_do_not_exist(self, store: Subject) -> None:
        header = await a_run(store)

        found = await store.load([(builders.new_id(), 0), (header.workflow_id, 0)])

        assert list(found) == [header.workflow_id]
        assert await store.load([]) == {}

    async def test_many_runs_are_loaded_at_once(self, store: Subject) -> None:
        headers = [workflow() for _ in range(40)]
        await accept(store, *[start(one, put_task(task(1))) for one in headers])

        found = await store.load([(one.workflow_id, 0) for one in headers])

        assert {key: one.workflow.workflow_id for key, one in found.items()} == {
            one.workflow_id: one.workflow_id for one in headers
        }
        assert all(len(one.tasks) == 1 for one in found.values())

    async def test_ids_that_are_not_uuids_never_match(self, store: Subject) -> None:
        await queued(store)

        assert await store.load([(text, 0) for text in FOREIGN_IDS]) == {}
        for text in FOREIGN_IDS:
            assert await store.find_task(text) is None
            assert await store.logs(text) == []
            assert await store.read_after(0, limit=10, workflow_id=text) == []
            assert await store.settled([(text, 1, "")]) == [False]

    async def test_a_header_is_replaced_whole(self, store: Subject) -> None:
        header = await a_run(store, reason="first", correlation_id="c")
        after = replace(header, reason=None, status=WorkflowStatus.COMPLETED)

        await accept(store, step(header.workflow_id, 1, put_workflow(after, header)))

        assert (await loaded(store, header.workflow_id)).workflow == replace(after, version=2)

    async def test_the_version_is_that_of_the_commit_and_not_of_the_header(
        self, store: Subject
    ) -> None:
        header = await a_run(store, version=77)

        await accept(store, step(header.workflow_id, 1, put_workflow(replace(header, version=5))))

        assert await version(store, header.workflow_id) == 2

    async def test_a_commit_without_a_header_moves_version_and_time_alone(
        self, store: Subject
    ) -> None:
        header = await a_run(store)

        await accept(store, step(header.workflow_id, 1, at_ms=NOW_MS + 5), now_ms=NOW_MS + 5)

        assert (await loaded(store, header.workflow_id)).workflow == replace(
            header, version=2, updated_at_ms=NOW_MS + 5
        )

    async def test_several_commands_raise_the_version_by_as_many(self, store: Subject) -> None:
        header = await a_run(store)

        await accept(store, step(header.workflow_id, 1, put_task(task(1)), commands=3))

        assert await version(store, header.workflow_id) == 4

    async def test_load_brings_only_what_is_newer(self, store: Subject) -> None:
        first, second, third = task(1), task(2), task(3)
        header = await a_run(store, put_task(first), put_task(second))
        after = replace(first, status=TaskStatus.COMPLETED)
        await accept(store, step(header.workflow_id, 1, put_task(after, first)))
        await accept(store, step(header.workflow_id, 2, put_task(third)))

        assert [t for t, _, _ in (await loaded(store, header.workflow_id, 1)).tasks] == [
            after,
            third,
        ]
        assert [t for t, _, _ in (await loaded(store, header.workflow_id, 2)).tasks] == [third]

    async def test_a_known_version_comes_without_tasks_but_with_all_leases(
        self, store: Subject
    ) -> None:
        header, _ = await queued(store, 2)
        leases = await poll(store, count=2)

        found = await loaded(store, header.workflow_id, 1)

        assert (found.tasks, found.retired) == ([], [])
        assert found.workflow.version == 1
        assert sorted(found.leases, key=lambda lease: lease.task_id) == leases

    async def test_each_run_is_loaded_from_its_own_known_version(self, store: Subject) -> None:
        one = await a_run(store, put_task(task(1)))
        two = await a_run(store, put_task(task(1)))
        for header in (one, two):
            await accept(store, step(header.workflow_id, 1, put_task(task(2))))

        found = await store.load([(one.workflow_id, 1), (two.workflow_id, 0)])

        assert [t.seq for t, _, _ in found[one.workflow_id].tasks] == [2]
        assert [t.seq for t, _, _ in found[two.workflow_id].tasks] == [1, 2]

    async def test_a_retired_task_is_no_longer_loaded(self, store: Subject) -> None:
        header = await a_run(store, *[put_task(task(seq)) for seq in (1, 2, 3)])

        await accept(store, step(header.workflow_id, 1, RetireTask(2), RetireTask(3)))

        assert [t.seq for t, _, _ in (await loaded(store, header.workflow_id)).tasks] == [1]
        newer = await loaded(store, header.workflow_id, 1)
        assert (newer.tasks, sorted(newer.retired)) == ([], [2, 3])
        assert (await loaded(store, header.workflow_id, 2)).retired == []

    async def test_a_task_may_be_written_and_retired_at_once(self, store: Subject) -> None:
        first = task(1)
        header = await a_run(store, put_task(first))
        canceled = replace(first, status=TaskStatus.CANCELED)

        await accept(
            store,
            step(header.workflow_id, 1, put_task(canceled, first), RetireTask(1)),
            start(workflow(), put_task(task(1)), RetireTask(1)),
        )

        found = await loaded(store, header.workflow_id, 1)
        assert (found.tasks, found.retired) == ([], [1])

    async def test_retiring_a_task_that_was_never_written_is_nothing(self, store: Subject) -> None:
        header = await a_run(store, put_task(task(1)))

        await accept(store, step(header.workflow_id, 1, RetireTask(2)))

        assert [t.seq for t, _, _ in (await loaded(store, header.workflow_id)).tasks] == [1]

    async def test_a_run_may_have_a_thousand_tasks(self, store: Subject) -> None:
        tasks = [task(seq) for seq in range(1, 1_001)]
        body = Payload(b'{"n":1}')
        header = await a_run(store, *[put_task(one, input=body) for one in tasks])
        after = replace(tasks[499], status=TaskStatus.COMPLETED)
        await accept(store, step(header.workflow_id, 1, put_task(after, tasks[499])))

        found = await loaded(store, header.workflow_id)

        tasks[499] = after
        assert [t for t, _, _ in found.tasks] == tasks
        assert all(given == body for _, given, _ in found.tasks)
        assert len((await loaded(store, header.workflow_id, 1)).tasks) == 1

    async def test_the_run_of_a_task_is_found_by_the_task(self, store: Subject) -> None:
        first = task(1)
        header = await a_run(store, put_task(first))

        assert await store.find_task(first.task_id) == header.workflow_id
        assert await store.find_task(builders.new_id()) is None

    async def test_a_removed_run_leaves_nothing_behind(self, store: Subject) -> None:
        held, ready = task(1), task(2)
        large = Payload.of("x" * 100_000)
        other = await a_run(store)
        header = await a_run(
            store,
            put_task(held, output=large),
            put_task(ready),
            builders.enqueue(held),
            SetTimer(task_id="", kind=TimerKind.WORKFLOW_TIMEOUT, due_at_ms=NOW_MS),
            SetTimer(task_id=held.task_id, kind=TimerKind.TASK_TIMEOUT, due_at_ms=NOW_MS),
            AddLog(task_id=held.task_id, created_at_ms=NOW_MS, line="hello"),
        )
        [lease] = await poll(store)
        keep = Reserve(scope="s", key="k", workflow_id=header.workflow_id, until_ms=NOW_MS + 1_000)
        await accept(
            store,
            step(header.workflow_id, 1, builders.enqueue(ready), keep),
            step(other.workflow_id, 1, Send(PauseWorkflow(header.workflow_id))),
        )

        await accept(store, step(header.workflow_id, 2, RemoveWorkflow(header.workflow_id)))

        assert list(await store.load([(header.workflow_id, 0), (other.workflow_id, 0)])) == [
            other.workflow_id
        ]
        assert await store.find_task(held.task_id) is None
        assert await store.logs(held.task_id) == []
        due = await store.due(NOW_MS + 1_000_000, 10)
        assert (due.timers, due.leases, due.sends) == ([], [], [])
        assert await store.queues() == []
        assert await poll(store) == []
        assert not await touch(store, lease)
        assert [one.workflow_id for one in await store.recent(limit=9)] == [other.workflow_id]
        assert await self._is_gone(store, (header.workflow_id, 1, "output"))
        again = replace(keep, workflow_id=other.workflow_id)
        await accept(store, step(other.workflow_id, 2, again))

    async def test_a_removed_run_accepts_no_more_commands(self, store: Subject) -> None:
        header = await a_run(store)
        remove = step(header.workflow_id, 1, RemoveWorkflow(header.workflow_id), request_id="r")
        await accept(store, remove)

        committed = await store.commit(builders.batch(step(header.workflow_id, 2)))

        assert committed.verdicts == [STALE]
        # The journal is append-only, so that even a removal can be read back.
        assert await store.settled([(header.workflow_id, 2, "r")]) == [True]

    async def test_sends_for_a_run_that_is_not_there_are_forgotten(self, store: Subject) -> None:
        here, other = await a_run(store), await a_run(store)
        gone = builders.new_id()
        sends = [Send(PauseWorkflow(workflow_id)) for workflow_id in (gone, here.workflow_id, gone)]
        await accept(store, step(other.workflow_id, 1, *sends))

        assert await store.forget_sends(gone) is True
        assert await store.forget_sends(here.workflow_id) is False

        due = await store.due(NOW_MS, 10)
        assert [send.workflow_id for send in due.sends] == [here.workflow_id]

    async def test_a_restart_changes_what_a_run_is_listed_by(self, store: Subject) -> None:
        first, second = await a_run(store), await a_run(store)
        later = replace(first, created_at_ms=NOW_MS + 9, definition="d2", definition_version=7)

        await accept(store, step(first.workflow_id, 1, put_workflow(later, first)))

        recent = await store.recent(limit=9)
        assert [one.workflow_id for one in recent] == [first.workflow_id, second.workflow_id]
        assert (recent[0].definition, recent[0].definition_version) == ("d2", 7)

    async def _is_gone(self, store: Subject, wanted: tuple[str, int, str]) -> bool:
        try:
            await store.fetch([wanted])
        except StoreError:
            return True
        return False
