"""Fixtures that every folder of tests may use."""

import signal
from pathlib import Path

import pytest

# Started in the background by a shell, we would ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of recorded definitions beside the repository, or skip, saying so."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no recorded definitions: ../shared/data is absent on this machine")
    return SHARED_DATA
