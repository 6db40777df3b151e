"""Everything at once: failing commits, pollers that go, a small cache, and all runs still end."""

import asyncio
import random
from typing import Any

import pytest

from batuta.model.command import RestartWorkflow, TerminateWorkflow
from batuta.model.error import StoreError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.commit.batch import ATTEMPTS_MAX
from batuta.store.base import Batch, Committed, Stale
from tests.engine.definitions import chain, child, fork, loop, simple, task_def, workflow
from tests.engine.node import LIMIT_S, Clock, Counting, Node, OpenStore, report_of, running

RUNS = 40
LANES = 12
# A poll that is committed but not answered holds its task for a lease: the shortest there is.
TASKS = [task_def("step", retryCount=1_000, responseTimeoutSeconds=1)]
WORKFLOWS = [
    chain("chain", 4),
    fork("fork", 4),
    workflow("loop", loop("again", 3, simple("inner"))),
    chain("inner", 2),
    workflow("parent", child("c", "inner"), simple("after")),
]


class Stormy(Counting):
    """A store of which some commits fail, before they are written or after."""

    def __init__(self, store: Any, chance: random.Random) -> None:
        super().__init__(store)
        self.chance = chance
        self.share = 0.0  # of the commits that fail
        self.failed = 0

    async def commit(self, batch: Batch) -> Committed:
        """Fail now and then."""
        fate = self.chance.random()
        if fate < self.share / 2:
            self.failed += 1
            raise StoreError("planned: nothing was written")
        committed: Committed = await super().commit(batch)
        if fate > 1 - self.share / 2:
            self.failed += 1
            raise StoreError("planned: all was written")
        return committed


async def lane(node: Node, chance: random.Random, accepted: list[str]) -> None:
    """Work for ever: with patience or without, over one kind of report or the other."""
    while True:
        poll = asyncio.create_task(node.engine.poll("step", count=3, wait_ms=200))
        if chance.random() < 0.2:
            await asyncio.sleep(chance.uniform(0, 0.005))
            poll.cancel()
        done = (await asyncio.gather(poll, return_exceptions=True))[0]
        if isinstance(done, asyncio.CancelledError):
            continue
        assert not isinstance(done, BaseException), done
        for polled in done:
            status = TaskStatus.FAILED if chance.random() < 0.1 else TaskStatus.COMPLETED
            command = report_of(polled, {"lane": 1}, status)
            following = None
            if chance.random() < 0.3:
                following = await node.engine.update_and_poll(command)
            else:
                await node.engine.update(command)
            accepted.append(polled.task.task_id)
            if following is not None:
                await node.report(following, {"lane": 2})


@pytest.mark.parametrize("seed", [1, 2])
async def test_all_runs_end_whatever_fails(open_store: OpenStore, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    accepted: list[str] = []
    async with running(
        open_store,
        clock,
        has_loops=True,
        cache_bytes_max=20_000,
        wrap=lambda store: Stormy(store, chance),
    ) as node:
        await node.register(*WORKFLOWS[:-1], tasks=TASKS)
        await node.register(WORKFLOWS[-1])
        node.store.share = 0.2
        names = [chance.choice(WORKFLOWS)["name"] for _ in range(RUNS)]
        runs = await asyncio.gather(*(node.start(name, {"x": 1}) for name in names))
        lanes = [asyncio.create_task(lane(node, chance, accepted)) for _ in range(LANES)]
        async with asyncio.timeout(2 * LIMIT_S):
            while any(count for s, count in (await node.store.counts()).items() if s == "RUNNING"):
                assert not any(one.done() for one in lanes)
                await asyncio.sleep(0.05)
        for one in lanes:
            one.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        node.store.share = 0.0

        assert node.store.failed >= 3, "a storm"
        for run in runs:
            view = await node.engine.get(run)
            assert view.workflow.status is WorkflowStatus.COMPLETED
            ended = [t.task.reference_name for t in view.tasks if t.task.status == "COMPLETED"]
            assert len(ended) == len(set(ended))
        assert await node.store.queues() == []


class Contended(Counting):
    """A store at which others win ``left`` more times."""

    left = 0

    async def commit(self, batch: Batch) -> Committed:
        """Refuse every decision, or let the batch through."""
        if not self.left or not batch.decisions:
            committed: Committed = await super().commit(batch)
            return committed
        self.left -= 1
        return Committed(
            verdicts=[Stale() for _ in batch.decisions],
            claimed=[[] for _ in batch.claims],
            touched=[False for _ in batch.touches],
        )


async def test_what_each_decision_looks_up_is_not_counted_against_the_next(
    open_store: OpenStore, clock: Clock
) -> None:
    store: list[Contended] = []

    async def contended() -> Any:
        store.append(Contended(await open_store()))
        return store[0]

    async with running(contended, clock) as node:
        await node.register(workflow("w", simple("step")))
        run = await node.start("w", task_to_domain={"step": "one,two"})
        await node.engine.control(TerminateWorkflow(workflow_id=run))
        store[0].left = ATTEMPTS_MAX - 1

        await node.engine.control(RestartWorkflow(workflow_id=run, use_latest=True))

        assert store[0].left == 0
        assert await node.status_of(run) is WorkflowStatus.RUNNING
