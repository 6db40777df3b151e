"""Databases for the tests of stores."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.postgres_server import fresh_schema, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a real PostgreSQL server, or skip, saying why."""
    with postgres() as url:
        yield url


@pytest.fixture
async def postgres_empty(postgres_server: str) -> AsyncIterator[str]:
    """Give the URL of a database without tables."""
    async with fresh_schema(postgres_server) as url:
        yield url


@pytest.fixture
async def postgres_url(postgres_empty: str) -> str:
    """Give the URL of a migrated database without rows."""
    from batuta.store.postgres import migrate

    await migrate(postgres_empty)
    return postgres_empty
