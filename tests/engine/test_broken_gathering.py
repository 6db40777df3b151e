"""A bug of ours while a batch is put together must leave nobody waiting."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import pytest

from batuta.model.command import PauseWorkflow, StartWorkflow
from batuta.model.error import NotFoundError, StoreError
from batuta.model.payload import EMPTY
from batuta.runtime.commit.batch import Share, Submitted, Unit, decide_on, new_execution
from batuta.runtime.commit.flight import Flight
from tests.engine.definitions import chain
from tests.engine.node import LIMIT_S, Clock, Node, OpenStore, running
from tests.unit.test_decide import WORKFLOW_ID, graph


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    async with running(open_store, clock) as node:
        yield node


async def test_who_waited_for_a_batch_that_broke_is_answered_and_the_next_is_fine(
    node: Node,
) -> None:
    await node.register(chain("one", 1))
    await node.start("one")
    real = Flight.batch
    broken: list[Any] = []

    def batch(self: Flight, *given: Any) -> Any:
        if not broken and self.claims and self.shares:
            broken.append(self)
            raise RuntimeError("a bug")
        return real(self, *given)

    with mock.patch.object(Flight, "batch", batch):
        async with asyncio.timeout(LIMIT_S):
            polled, started = await asyncio.gather(
                node.engine.poll("step", wait_ms=0), node.start("one"), return_exceptions=True
            )

    assert broken, "the bug struck a batch with a poll and a start"
    assert polled == []
    assert isinstance(started, StoreError)
    assert len(await node.engine.poll("step", count=5, wait_ms=0)) == 1
    assert await node.start("one")


def test_nothing_but_a_start_is_decided_on_a_run_that_is_not_there() -> None:
    start = StartWorkflow(
        workflow_id=WORKFLOW_ID, name="w", definition="d", definition_version=1, input=EMPTY
    )
    share = Share(new_execution(start, graph({"ref": "a"})), Unit())
    pause = Submitted(PauseWorkflow(workflow_id=WORKFLOW_ID), None, seed=bytes(16))

    with pytest.raises(NotFoundError):
        decide_on(share, pause, now_ms=1, environment={})

    assert not share.entries
    decide_on(share, Submitted(start, None, seed=bytes(16)), now_ms=1, environment={})
    decide_on(share, pause, now_ms=1, environment={})
    assert [entry.kind for entry in share.entries] == ["start", "pause"]
