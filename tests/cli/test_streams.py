"""Standard output that is closed, full, or that nobody reads any more."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.live import READY_S, batuta, environment, server

ALONE = {"name": "alone", "tasks": [{"name": "person", "taskReferenceName": "r", "type": "HUMAN"}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a run that waits and logs nothing."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "alone.json").write_text(json.dumps(ALONE), "utf-8")
    with server(folder / "runs.db") as url:
        assert batuta("run", str(folder / "alone.json"), "--server", url).returncode == 0
        yield url


@pytest.mark.parametrize("arguments", [["config"], ["status"], ["--help"], ["logs", "--follow"]])
def test_a_reader_that_has_enough_is_no_error(url: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "batuta", *arguments]
    if arguments[0] in ("status", "logs"):
        command += ["--server", url]
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        command,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=READY_S,
        check=False,
        text=True,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (0, "")


def test_following_a_log_ends_when_its_reader_goes(url: str) -> None:
    arguments = ("logs", "--follow", "--server", url)
    command = [sys.executable, "-m", "batuta", *arguments]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        following.stdout.close()

        assert following.wait(READY_S) == 0, "nothing is logged, so that nothing is ever written"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_is_full_or_closed_is_one_line_or_none() -> None:
    def run(redirected: str) -> subprocess.CompletedProcess[str]:
        line = f"'{sys.executable}' -m batuta config {redirected}"
        return subprocess.run(
            ["bash", "-c", line], env=environment(), capture_output=True, text=True, check=False
        )

    full, closed = run("> /dev/full"), run(">&-")

    assert (full.returncode, closed.returncode) == (1, 0)
    assert full.stderr.startswith("batuta: ")
    assert "No space left" in full.stderr
    assert full.stderr.count("\n") == 1
    assert closed.stderr == ""
