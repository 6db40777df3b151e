"""The memory store keeps the contract."""

from collections.abc import AsyncIterator

import pytest

from batuta.store.memory import MemoryStore
from batuta.testing.builders import NOW_MS
from batuta.testing.store import StoreSuite, Subject


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Subject]:
        store = MemoryStore(lambda: NOW_MS)
        yield store
        await store.close()
