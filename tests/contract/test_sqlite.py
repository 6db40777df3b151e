"""The SQLite store keeps the contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batuta.store.sqlite import SqliteStore
from batuta.testing.builders import NOW_MS
from batuta.testing.store import StoreSuite, Subject


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Subject]:
        store = await SqliteStore.open(str(tmp_path / "batuta.db"), now_wall_ms=lambda: NOW_MS)
        yield store
        await store.close()
