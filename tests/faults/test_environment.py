"""A server that cannot keep its promises does not start, and says why."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batuta.cli.client import Client
from tests.cli.live import batuta, server

pytestmark = [pytest.mark.slow]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in which nobody can write, or skip, saying why."""
    folder = tmp_path / "fixed"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("root may write anywhere, and cannot mount a read-only folder here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(
    tmp_path: Path, report: Callable[..., None]
) -> None:
    database = tmp_path / "batuta.db"
    with server(database) as url:
        second = batuta("serve", "--port", "0", "--db", str(database))
        client = Client(url)
        counts = client.get("/batuta/status")["counts"]
        client.close()

    assert second.returncode != 0
    assert "is in use by another batuta server (process" in second.stderr
    assert "Traceback" not in second.stderr
    assert counts == {}
    report(
        oracle="exit code and standard error of the second server; the first one answers",
        rule="refused with the process that has the database, no traceback",
        said=second.stderr.strip()[-300:],
    )


def test_a_read_only_folder_is_told_at_the_start(
    read_only: Path, report: Callable[..., None]
) -> None:
    refused = batuta("serve", "--port", "0", "--db", str(read_only / "batuta.db"))

    assert refused.returncode != 0
    assert str(read_only) in refused.stderr
    assert "cannot hold the database: " in refused.stderr
    assert "--db" in refused.stderr, "what to do about it"
    assert "Traceback" not in refused.stderr
    report(
        oracle="exit code and standard error",
        rule="refused, with the path and what to do, no traceback",
        said=refused.stderr.strip()[-300:],
    )
