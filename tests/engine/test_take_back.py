"""A node that follows a killed one takes back what the dead process's own workers held."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batuta.app import open_engine
from batuta.config import Settings
from batuta.model.error import StoreError
from batuta.model.execution import WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.queues import LOCAL_WORKER
from batuta.runtime.view import Polled
from tests.contract.postgres_server import fresh_schema
from tests.engine.definitions import chain
from tests.engine.node import (
    WAIT_MS,
    Clock,
    OpenStore,
    postgres_opener,
    running,
    turns,
)


@pytest.fixture
def _switch_interval() -> Iterator[None]:
    """Put back what a server sets for its whole process."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


async def held(open_store: OpenStore, clock: Clock, worker_id: str | None) -> Polled:
    """Start a run on a node, give its task to a worker, and lose the node."""
    async with running(open_store, clock) as node:
        await node.register(chain("one", 1))
        await node.start("one")
        return await node.poll("step", worker_id=worker_id)


async def test_a_task_of_a_dead_in_process_worker_is_ready_again_as_it_was(
    open_store: OpenStore, clock: Clock
) -> None:
    before = await held(open_store, clock, LOCAL_WORKER)

    async with running(open_store, clock) as node:
        count = await node.engine.take_back_local_leases()
        again = await node.poll("step", worker_id=LOCAL_WORKER)
        await node.report(again, {"n": 1})

        run = await node.engine.get(before.workflow.workflow_id)
    assert count == 1
    assert again.task == before.task
    assert again.workflow.version == before.workflow.version, "a lease is no part of the run"
    assert again.lease.poll_count == before.lease.poll_count
    assert run.workflow.status is WorkflowStatus.COMPLETED
    assert [view.output for view in run.tasks] == [Payload(b'{"n":1}')]


async def test_a_task_taken_back_has_its_old_place_in_the_queue(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(chain("one", 1))
        started = await node.start_in_order("one", 3)
        first = await node.poll("step", worker_id="w1")
        second = await node.poll("step", worker_id=LOCAL_WORKER)
        assert [p.workflow.workflow_id for p in (first, second)] == started[:2]

    async with running(open_store, clock) as node:
        await node.engine.take_back_local_leases()

        polled = await node.engine.poll("step", count=9, wait_ms=WAIT_MS)

    assert [one.workflow.workflow_id for one in polled] == started[1:]


@pytest.mark.parametrize("worker_id", ["w1", "", None, LOCAL_WORKER.upper()])
async def test_what_any_other_worker_holds_stays_its_own(
    open_store: OpenStore, clock: Clock, worker_id: str | None
) -> None:
    polled = await held(open_store, clock, worker_id)

    async with running(open_store, clock) as node:
        assert await node.engine.take_back_local_leases() == 0
        assert await node.polls_nothing("step")

        await node.report(polled)

        workflow_id = polled.workflow.workflow_id
        assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED


async def test_a_task_is_taken_back_once(open_store: OpenStore, clock: Clock) -> None:
    await held(open_store, clock, LOCAL_WORKER)

    async with running(open_store, clock) as node:
        counts = [await node.engine.take_back_local_leases() for _ in range(2)]
        polled = await node.engine.poll("step", count=9, wait_ms=WAIT_MS)

        assert counts == [1, 0]
        assert len(polled) == 1
        assert await node.polls_nothing("step")


async def test_who_waits_already_gets_what_is_taken_back(
    open_store: OpenStore, clock: Clock
) -> None:
    before = await held(open_store, clock, LOCAL_WORKER)

    async with running(open_store, clock) as node:
        assert await node.polls_nothing("step")
        waiting = asyncio.create_task(node.poll("step"))
        await turns()
        assert node.engine.committer.queues.get("step").waiters

        await node.engine.take_back_local_leases()

        assert (await waiting).task.task_id == before.task.task_id


async def test_a_run_in_memory_forgets_the_lease_that_is_taken_back(
    open_store: OpenStore, clock: Clock
) -> None:
    before = await held(open_store, clock, LOCAL_WORKER)

    async with running(open_store, clock) as node:
        workflow_id = before.workflow.workflow_id
        await node.engine.add_log(before.task.task_id, "seen after the restart")
        assert (await node.task(workflow_id, "s0")).lease == before.lease

        await node.engine.take_back_local_leases()

        assert (await node.task(workflow_id, "s0")).lease is None


class Refusing:
    """A store that refuses every commit, and is otherwise the one within."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Any) -> Any:
        """Refuse."""
        raise StoreError(f"the disk is full: {len(batch.touches)} leases stay")


async def test_a_lease_that_cannot_be_taken_back_ends_by_itself(
    open_store: OpenStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batuta.runtime.engine.DRAIN_S", 0.2)  # it would try again till then
    before = await held(open_store, clock, LOCAL_WORKER)
    async with running(open_store, clock, wrap=Refusing) as node:
        assert await node.engine.take_back_local_leases() == 0

    async with running(open_store, clock) as node:
        assert await node.polls_nothing("step")
        await node.advance(before.lease.lease_ms + 1)

        task = await node.task(before.workflow.workflow_id, "s0")
        assert (task.task.retry_count, task.lease) == (1, None)


async def test_a_node_that_is_live_takes_nothing_back(open_store: OpenStore, clock: Clock) -> None:
    async with running(open_store, clock, has_loops=True) as node:
        with pytest.raises(AssertionError, match="before workers of this process"):
            await node.engine.take_back_local_leases()


@pytest.mark.usefixtures("_switch_interval")
@pytest.mark.parametrize("store_name", ["sqlite"])
async def test_a_server_takes_leases_back_when_it_opens_a_file(
    open_store: OpenStore, clock: Clock, tmp_path: Path
) -> None:
    before = await held(open_store, clock, LOCAL_WORKER)

    async with open_engine(Settings(db=str(tmp_path / "batuta.db"))) as engine:
        [again] = await engine.poll("step", wait_ms=WAIT_MS)

    assert again.task.task_id == before.task.task_id


@pytest.mark.postgres
@pytest.mark.usefixtures("_switch_interval")
async def test_a_server_leaves_the_in_process_workers_of_other_nodes_alone(
    postgres_server: str, clock: Clock
) -> None:
    from batuta.store.postgres import migrate

    async with fresh_schema(postgres_server) as url:
        await migrate(url)
        async with running(postgres_opener(url), clock) as node:
            await node.register(chain("one", 1))
            workflow_id = await node.start("one")
            polled = await node.poll("step", worker_id=LOCAL_WORKER)

            async with open_engine(Settings(db=url)) as second:
                assert await second.poll("step", wait_ms=0) == []

            await node.report(polled)
            assert await node.status_of(workflow_id) is WorkflowStatus.COMPLETED
