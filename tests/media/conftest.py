"""What the tests of media nodes share: a folder of media files, and an API that serves it."""

from pathlib import Path

import pytest

from batuta.runtime.clock import wall_ms
from batuta.store.blob.media import MediaFiles

RUN = "01890000-0000-7000-8000-00000000002a"
BYTES_MAX = 2_000_000


@pytest.fixture
def media(tmp_path: Path) -> MediaFiles:
    return MediaFiles(tmp_path / "media", wall_ms=wall_ms, bytes_max=BYTES_MAX)
