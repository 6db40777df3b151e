"""A bug of ours while a batch is put together must leave nobody waiting."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import pytest

from batuta.model.error import StoreError
from batuta.runtime.commit.flight import Flight
from tests.engine.definitions import chain
from tests.engine.node import LIMIT_S, Clock, Node, OpenStore, running


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
