"""The memory store keeps the contract."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from batuta.store.memory import MemoryStore
from batuta.testing.builders import NOW_MS
from batuta.testing.store import DurableStoreSuite, SharedStoreSuite, StoreSuite, Subject


def beside(store: Subject) -> MemoryStore:
    """Open a second memory store on the data of the first, as a simulated restart does."""
    assert isinstance(store, MemoryStore)
    return MemoryStore(lambda: NOW_MS, state=store.state)


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Subject]:
        store = MemoryStore(lambda: NOW_MS)
        yield store
        await store.close()


class TestMemoryStoreOnKeptState(DurableStoreSuite, SharedStoreSuite):
    @pytest.fixture
    async def store(self) -> Subject:
        return MemoryStore(lambda: NOW_MS)

    @pytest.fixture
    def reopen(self) -> Callable[[Subject], Awaitable[Subject]]:
        async def reopen(store: Subject) -> Subject:
            await store.close()
            return beside(store)

        return reopen

    @pytest.fixture
    def rival(self, store: Subject) -> Subject:
        return beside(store)
