"""The engine on each of its stores."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.postgres_server import fresh_schema, postgres
from tests.engine.node import (
    Clock,
    Node,
    OpenStore,
    memory_opener,
    postgres_opener,
    running,
    sqlite_opener,
)
from tests.faults.scan import scan

STORES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a real PostgreSQL server, or skip, saying why."""
    with postgres() as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    """Give the time, which the test may move on."""
    return Clock()


@pytest.fixture(params=STORES)
def store_name(request: pytest.FixtureRequest) -> str:
    """Name the store."""
    return str(request.param)


@pytest.fixture
async def open_store(
    request: pytest.FixtureRequest, store_name: str, tmp_path: Path, clock: Clock
) -> AsyncIterator[OpenStore]:
    """Give what opens the store, again and again on the same data."""
    if store_name == "memory":
        yield memory_opener(clock)
    elif store_name == "sqlite":
        path = tmp_path / "batuta.db"
        yield sqlite_opener(path, clock)
        if path.exists():
            assert scan(path) == [], "whatever a test did, the store is sound"
    else:
        from batuta.store.postgres import migrate

        async with fresh_schema(request.getfixturevalue("postgres_server")) as url:
            await migrate(url)
            yield postgres_opener(url)


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    """Give a node without its background loops: nothing happens but what the test does."""
    async with running(open_store, clock) as node:
        yield node
