"""Queue names that were polled once do not stay in memory for ever."""

from collections.abc import AsyncIterator

import pytest

from batuta.runtime.queues import FORGOTTEN_MS, QUEUES_MAX
from tests.engine.node import Clock, Node, OpenStore, running


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    async with running(open_store, clock) as node:
        yield node


async def test_of_too_many_queues_those_not_polled_for_long_are_forgotten(
    node: Node, clock: Clock
) -> None:
    for number in range(QUEUES_MAX + 1):
        node.engine.committer.queues.get(f"old-{number}").note_poll("w", clock.now_ms())
    clock.move(FORGOTTEN_MS + 1)
    node.engine.committer.queues.get("new").note_poll("w", clock.now_ms())

    node.engine.committer.queues.recheck()

    assert [queue.name for queue in node.engine.committer.queues] == ["new"]
