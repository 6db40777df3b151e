"""A run that others have moved on is brought up to date by what is newer alone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.commit.cache import absorb, build
from tests.engine.definitions import Document, chain, child, fork, simple, task_def, workflow
from tests.engine.node import Clock, Node, OpenStore, memory_opener, report_of, running


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    async with running(open_store, clock) as node:
        yield node


async def loaded(node: Node, workflow_id: str, version: int) -> Any:
    return (await node.store.load([(workflow_id, version)]))[workflow_id]


async def test_a_run_that_absorbs_equals_the_run_read_whole(node: Node) -> None:
    await node.register(fork("wide", 5))
    workflow_id = await node.start("wide", {"x": 1})
    graph = (await node.engine.get(workflow_id)).graph
    old = build(await loaded(node, workflow_id, 0), graph)
    known = old.workflow.version
    for polled in await node.engine.poll("step", count=3, wait_ms=0):
        await node.engine.update(report_of(polled, {"v": polled.task.seq}))

    newer = await loaded(node, workflow_id, known)
    absorbed, whole = absorb(old, newer), build(await loaded(node, workflow_id, 0), graph)

    assert 0 < len(newer.tasks) < len(whole.tasks)
    for name in type(whole).__slots__:
        if name not in {"graph", "is_removed"}:
            assert getattr(absorbed, name) == getattr(whole, name), name
    assert absorbed.workflow.version > known


async def test_a_name_falls_back_to_the_attempt_that_stays(node: Node) -> None:
    await node.register(chain("steps", 1), tasks=[task_def("step")])
    workflow_id = await node.start("steps")
    for _ in range(2):
        polled = (await node.engine.poll("step", wait_ms=0))[0]
        await node.engine.update(report_of(polled, status=TaskStatus.FAILED))
    graph = (await node.engine.get(workflow_id)).graph
    stored = await loaded(node, workflow_id, 0)
    first, *later = (task.seq for task, _, _ in stored.tasks)
    fields = {"tasks": [], "retired": sorted(later)}

    absorbed = absorb(build(stored, graph), msgspec.structs.replace(stored, **fields))

    assert len(later) == 2
    assert dict(absorbed.latest) == {"s0": first}


async def test_a_node_behind_another_reads_only_what_is_newer(
    open_store: OpenStore, clock: Clock
) -> None:
    known: list[int] = []

    class Watched:
        """A store that notes from which versions it is asked to load."""

        def __init__(self, store: Any) -> None:
            self._store = store
            self._store.is_shared = True

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def load(self, wanted: Any) -> Any:
            known.extend(version for _, version in wanted)
            return await self._store.load(wanted)

    async with running(open_store, clock, wrap=Watched) as node:
        await node.register(chain("steps", 3))
        workflow_id = await node.start("steps")
        polled = (await node.engine.poll("step", wait_ms=0))[0]
        await node.engine.update(report_of(polled))
        known.clear()

        await node.engine.update(report_of(polled))  # moot: nothing is written, so it looks again

        assert known == [2]
        run = await node.engine.get(workflow_id)
        assert run.tasks[0].task.status is TaskStatus.COMPLETED


async def test_a_report_is_not_refused_from_memory_because_a_send_shares_its_batch(
    clock: Clock,
) -> None:
    open_store = memory_opener(clock)

    def shared(store: Any) -> Any:
        store.is_shared = True
        return store

    both = workflow("both", simple("first", "begin"), *fork_of(child("c", "inner"), simple("b")))
    async with (
        running(open_store, clock, wrap=shared) as one,
        running(open_store, clock, wrap=shared) as other,
    ):
        await one.register(chain("inner", 1, "deep"), both)
        workflow_id = await one.start("both")
        await other.report(await other.poll("begin"))  # the first node's memory is behind now
        deep, b = await one.poll("deep"), await other.poll("step")
        await one.report(deep, status=TaskStatus.IN_PROGRESS)  # the child is in its memory
        deep = await one.poll("deep")

        # The child's end is for the parent, which is thereby in the same batch as the report.
        await asyncio.gather(one.report(deep), one.report(b))
        await one.look_for_due()

        assert (await one.task(workflow_id, "b")).task.status is TaskStatus.COMPLETED
        assert await one.status_of(workflow_id) is WorkflowStatus.COMPLETED


def fork_of(*branches: Document) -> list[Document]:
    """Return a fork of single tasks, and its join."""
    names = [branch["taskReferenceName"] for branch in branches]
    forked = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN"}
    joined = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": names}
    return [{**forked, "forkTasks": [[branch] for branch in branches]}, joined]
