"""One server for all recorded definitions; HTTP tasks are left to workers, so nothing goes out."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cli.live import server
from tests.corpus.crew import Crew


@pytest.fixture(scope="session")
def corpus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the API of a server in a process of its own, on a database of its own."""
    with server(tmp_path_factory.mktemp("corpus") / "runs.db", "--http-tasks-max", "0") as url:
        yield f"{url}/api"


@pytest.fixture
async def crew(corpus_url: str) -> AsyncIterator[Crew]:
    async with Crew(corpus_url) as crew:
        yield crew


@pytest.fixture(scope="session")
def corpus(shared_data: Path) -> Path:
    return shared_data / "corpus"
