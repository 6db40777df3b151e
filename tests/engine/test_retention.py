"""Retention on each store: what is to go goes for good, and nothing else."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from batuta.model.command import (
    PauseWorkflow,
    RestartWorkflow,
    RetryWorkflow,
    TerminateWorkflow,
)
from batuta.model.error import NotFoundError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.keep.keeper import JOURNAL_KEEP_MS, SLICE_RUNS, Keeper
from batuta.runtime.keep.plan import DAY_MS
from batuta.testing.journal import read_all
from tests.engine.node import Clock, Node, memory_opener, running

SIMPLE = {"name": "work", "taskReferenceName": "work", "type": "SIMPLE"}


class Settings(msgspec.Struct, frozen=True):
    """What the server says."""

    retention_days: int = 0
    retention_failed_days: int = 0
    retention_count: int = 0
    retention_retired_days: int = 0
    sink_lag_max: int = 1_000


def definition(name: str = "one", *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a workflow of worker tasks."""
    return {"name": name, "tasks": list(tasks) or [SIMPLE], **more}


def keeper(node: Node, **settings: int) -> Keeper:
    """Return the node's keeper; no pass is made but the test's."""
    return Keeper(
        node.store,
        Settings(**settings),
        now_ms=node.clock.now_ms,
        forget=node.engine._cache.forget,
    )


async def done(node: Node, name: str = "one") -> str:
    """Run a workflow of one task to its end."""
    workflow_id = await node.start(name)
    await node.report(await node.poll("work"), {"n": 1})
    return workflow_id


async def there(node: Node, *workflow_ids: str) -> list[bool]:
    """Tell which runs there are, by the engine's word."""
    found = []
    for workflow_id in workflow_ids:
        try:
            await node.engine.get(workflow_id)
        except NotFoundError:
            found.append(False)
        else:
            found.append(True)
    return found


async def test_without_a_word_everything_is_kept(node: Node) -> None:
    await node.register(definition())
    workflow_id = await done(node)
    node.clock.move(4_000 * DAY_MS)
    kept = keeper(node)

    await kept.make_pass()

    assert await there(node, workflow_id) == [True]
    assert not kept.kept.is_configured


async def test_runs_that_ended_long_ago_go_and_open_ones_stay(node: Node) -> None:
    await node.register(definition())
    is_open = await node.start("one")
    held = await node.poll("work")
    old = await done(node)
    node.clock.move(7 * DAY_MS)
    young = await done(node)
    node.clock.move(DAY_MS)
    kept = keeper(node, retention_days=7)

    await kept.make_pass()

    assert await there(node, is_open, old, young) == [True, False, True]
    assert kept.kept.runs == 1
    assert (await node.store.counts()) == {"RUNNING": 1, "COMPLETED": 1}
    await node.report(held)
    assert await node.status_of(is_open) is WorkflowStatus.COMPLETED


async def test_the_last_so_many_runs_of_a_definition_stay(node: Node) -> None:
    await node.register(
        definition("one", retention={"count": 2}), definition("two"), definition("three")
    )
    ones = [await done(node) for _ in range(4)]
    two = await done(node, "two")

    await keeper(node).make_pass()

    assert (await there(node, *ones)).count(True) == 2
    assert await there(node, ones[-1], two) == [True, True]


async def test_a_status_has_a_rule_of_its_own(node: Node) -> None:
    rule = {"days": 30, "byStatus": {"COMPLETED": {"days": 1}}}
    await node.register(definition(retention=rule))
    completed = await done(node)
    terminated = await node.start("one")
    await node.engine.control(TerminateWorkflow(workflow_id=terminated))
    node.clock.move(2 * DAY_MS)

    await keeper(node, retention_days=1).make_pass()

    assert await there(node, completed, terminated) == [False, True]


async def test_the_latest_version_of_a_definition_counts_for_all_runs(node: Node) -> None:
    await node.register(definition(version=1, retention={"days": 1}))
    workflow_id = await done(node)
    await node.register(definition(version=2, retention={"days": 0}))
    node.clock.move(9 * DAY_MS)

    await keeper(node, retention_days=1).make_pass()

    assert await there(node, workflow_id) == [True]


async def test_a_child_stays_as_long_as_its_parent_is_open(node: Node) -> None:
    child = {"name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW"}
    child["subWorkflowParam"] = {"name": "one"}  # type: ignore[assignment]
    human = {"name": "wait", "taskReferenceName": "wait", "type": "HUMAN"}
    await node.register(definition("one"))
    await node.register(definition("parent", child, human))
    parent_id = await node.start("parent")
    await node.report(await node.poll("work"))
    await node.look_for_due()
    child_id = (await node.task(parent_id, "sub")).task.child_id
    assert child_id is not None
    assert await node.status_of(child_id) is WorkflowStatus.COMPLETED
    node.clock.move(9 * DAY_MS)
    kept = keeper(node, retention_days=1)

    await kept.make_pass()
    assert await there(node, parent_id, child_id) == [True, True]

    await node.engine.control(TerminateWorkflow(workflow_id=parent_id))
    await kept.make_pass()
    assert await there(node, parent_id, child_id) == [True, False]


async def test_what_is_asked_of_a_purged_run_is_a_404(node: Node) -> None:
    await node.register(definition())
    workflow_id = await node.start("one")
    polled = await node.poll("work")
    await node.report(polled, status=TaskStatus.FAILED_WITH_TERMINAL_ERROR)
    node.clock.move(9 * DAY_MS)

    await keeper(node, retention_days=1).make_pass()

    for command in (RetryWorkflow(workflow_id=workflow_id), PauseWorkflow(workflow_id)):
        with pytest.raises(NotFoundError):
            await node.engine.control(command)
    with pytest.raises(NotFoundError):
        await node.engine.get_task(polled.task.task_id)


async def test_a_run_that_is_opened_again_between_look_and_purge_stays(node: Node) -> None:
    await node.register(definition())
    workflow_id = await node.start("one")
    await node.report(await node.poll("work"), status=TaskStatus.FAILED_WITH_TERMINAL_ERROR)
    node.clock.move(9 * DAY_MS)
    found = await node.store.find_ended(
        "one", ["FAILED"], before_ms=node.clock.now_ms(), keep_count=0, limit=9
    )
    assert [one.workflow_id for one in found] == [workflow_id]

    await node.engine.control(RetryWorkflow(workflow_id=workflow_id))
    assert await node.store.purge(found, now_ms=node.clock.now_ms(), rows_max=9) == []

    await node.report(await node.poll("work"))
    assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED


async def test_the_journal_of_a_purged_run_follows_after_an_hour(node: Node) -> None:
    await node.register(definition())
    workflow_id = await done(node)
    node.clock.move(9 * DAY_MS)
    kept = keeper(node, retention_days=1)
    await kept.make_pass()
    assert [row.entry.kind for row in await read_all(node.store, workflow_id)][-1] == "remove"
    other = await done(node)

    node.clock.move(JOURNAL_KEEP_MS + 1_000)
    await kept.make_pass()

    assert await read_all(node.store, workflow_id) == []
    assert await read_all(node.store, other) != []
    assert kept.kept.leftover_rows > 0


async def test_a_reader_of_the_journal_holds_its_rows_back(node: Node) -> None:
    await node.register(definition())
    workflow_id = await done(node)
    node.clock.move(9 * DAY_MS)
    await node.store.cursors.take("sink", "me", now_ms=0, until_ms=0)
    kept = keeper(node, retention_days=1)
    await kept.make_pass()
    assert await there(node, workflow_id) == [False]
    await done(node)
    node.clock.move(JOURNAL_KEEP_MS + 1_000)

    await kept.make_pass()
    assert await read_all(node.store, workflow_id) != []

    end = (await read_all(node.store))[-1].position
    await node.store.cursors.move("sink", "me", position=end, until_ms=0)
    await kept.make_pass()
    assert await read_all(node.store, workflow_id) == []


async def test_a_run_that_a_reader_of_the_journal_has_not_seen_end_is_kept(node: Node) -> None:
    await node.register(definition())
    seen = await done(node)
    await node.store.cursors.take("sink", "me", now_ms=0, until_ms=0)
    unseen = await done(node)
    node.clock.move(9 * DAY_MS)
    kept = keeper(node, retention_days=1)

    await kept.make_pass()
    assert await there(node, seen, unseen) == [False, True]

    end = await node.store.cursors.journal_end()
    await node.store.cursors.move("sink", "me", position=end, until_ms=0)
    await kept.make_pass()
    assert await there(node, unseen) == [False]


async def test_a_reader_that_is_too_far_behind_holds_nothing_back(node: Node) -> None:
    await node.register(definition())
    await node.store.cursors.take("sink", "me", now_ms=0, until_ms=0)
    early, late = await done(node), await done(node)
    lag = len(await read_all(node.store, late))
    node.clock.move(9 * DAY_MS)

    await keeper(node, retention_days=1, sink_lag_max=lag).make_pass()

    assert await there(node, early, late) == [False, True]


async def test_retired_tasks_of_kept_runs_go_when_that_is_asked_for(node: Node) -> None:
    await node.register(definition())
    workflow_id = await node.start("one")
    first = await node.poll("work")
    await node.report(first, status=TaskStatus.FAILED_WITH_TERMINAL_ERROR)
    await node.engine.control(RestartWorkflow(workflow_id=workflow_id))
    node.clock.move(3 * DAY_MS)
    kept = keeper(node, retention_retired_days=2)

    await kept.make_pass()

    assert kept.kept.retired_tasks == 1
    assert await node.store.find_task(first.task.task_id) is None
    await node.report(await node.poll("work"))
    assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED


async def test_retired_tasks_that_a_reader_of_the_journal_has_not_seen_go_are_kept(
    node: Node,
) -> None:
    await node.register(definition())
    await node.store.cursors.take("sink", "me", now_ms=0, until_ms=0)
    workflow_id = await done(node)
    await node.engine.control(RestartWorkflow(workflow_id=workflow_id))
    node.clock.move(3 * DAY_MS)
    kept = keeper(node, retention_retired_days=2)

    await kept.make_pass()
    assert kept.kept.retired_tasks == 0

    end = await node.store.cursors.journal_end()
    await node.store.cursors.move("sink", "me", position=end, until_ms=0)
    await kept.make_pass()
    assert kept.kept.retired_tasks == 1


async def test_more_runs_than_a_slice_go_in_one_pass(node: Node) -> None:
    await node.register(definition("none", {**SIMPLE, "type": "NOOP"}))
    count = SLICE_RUNS + 3
    for _ in range(count):
        await node.start("none")
    node.clock.move(2 * DAY_MS)
    kept = keeper(node, retention_days=1)

    await kept.make_pass()

    assert kept.kept.runs == count
    assert await node.store.counts() == {}


async def test_a_node_whose_memory_is_old_reads_the_run_whole(clock: Clock) -> None:
    """It would not hear of a task that was retired and purged since."""
    open_store = memory_opener(clock)

    def shared(store: Any) -> Any:
        store.is_shared = True
        return store

    async with (
        running(open_store, clock, wrap=shared) as one,
        running(open_store, clock, wrap=shared) as other,
    ):
        await one.register(definition())
        workflow_id = await one.start("one")
        await one.report(await one.poll("work"), status=TaskStatus.FAILED_WITH_TERMINAL_ERROR)
        await other.engine.control(RestartWorkflow(workflow_id=workflow_id))
        clock.move(2 * DAY_MS)
        kept = keeper(other, retention_retired_days=1)
        await kept.make_pass()
        assert kept.kept.retired_tasks == 1

        await one.engine.control(PauseWorkflow(workflow_id))

        execution = one.engine._cache.peek(workflow_id)
        assert execution is not None
        assert sorted(execution.tasks) == [2]


@pytest.fixture
async def reached(node: Node) -> AsyncIterator[Node]:
    """Give a node whose keeper runs as a loop."""
    yield node
    await node.engine.supervisor.stop()


async def test_the_loop_is_shown_with_what_it_did(reached: Node) -> None:
    reached.engine.keep(Settings(retention_days=1))

    status = await reached.engine.status()

    assert "keep" in status.loops
    assert status.kept is not None
    assert status.kept.runs == 0
