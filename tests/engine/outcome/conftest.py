"""What every test of commits with an unknown outcome stands on."""

from collections.abc import AsyncIterator

import pytest

from tests.engine.definitions import chain
from tests.engine.node import Clock, Node, OpenStore, running
from tests.engine.outcome.faulty import Faulty


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    """Give a node on a store that fails when told to."""
    async with running(open_store, clock, wrap=Faulty) as node:
        await node.register(chain("one", 1), chain("two", 2))
        yield node
