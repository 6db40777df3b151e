"""Fixtures that every folder of tests may use."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of recorded definitions beside the repository, or skip, saying so."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no recorded definitions: ../shared/data is absent on this machine")
    return SHARED_DATA
