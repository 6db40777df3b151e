"""A node on SQLite whose store says what it has done."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engine.node import Clock, Counting, Node, running, sqlite_opener


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """Give a node without background loops: what is counted is what the test does."""
    clock = Clock()
    async with running(sqlite_opener(tmp_path / "batuta.db", clock), clock, wrap=Counting) as node:
        yield node
