"""One server for all tests of the examples; each test starts the workers that it needs."""

from collections.abc import Iterator

import pytest

from tests.examples.stage import Stage, open_stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("examples")) as stage:
        yield stage
