"""A server for class workflows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.dialects.checkpointed.classes import World, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    """Give a server whose folder of workflows is empty."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    async with world(folder) as found:
        yield found
