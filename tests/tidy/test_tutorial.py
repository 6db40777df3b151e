"""The tutorial, followed to the letter, ends as it says; only the port is another."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)
BATUTA = Path(sys.executable).with_name("batuta")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("BATUTA_")},
    "PYTHONUNBUFFERED": "1",
}


def _blocks() -> list[str]:
    text = (ROOT / "docs" / "tutorial" / "first-workflow.md").read_text("utf-8")
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in BLOCK.findall(text)]


def _block(beginning: str) -> str:
    return next(block.strip() for block in _blocks() if block.lstrip().startswith(beginning))


@contextmanager
def _server(folder: Path, ending: signal.Signals) -> Iterator[str]:
    """Run the tutorial's server on a free port; give its URL."""
    command = [str(BATUTA), *_block("batuta serve").split()[1:], "--port", "0"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=log, text=True
        ) as server,
    ):
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert found, line + (folder / "log").read_text("utf-8")
            yield found[0]
        finally:
            server.send_signal(ending)


def _watch(folder: Path, url: str) -> str:
    """Run the tutorial's workflow to its end; give what was shown."""
    command = [str(BATUTA), *_block("batuta run").split()[1:], "--server", f"{url}/api"]
    watched = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert watched.returncode == 0, watched.stderr
    return watched.stdout


def _start(url: str) -> str:
    """Start a run as the tutorial's curl does; give its id."""
    body = re.search(r"-d '(.+)'", _block("curl -X POST"))
    assert body is not None
    request = urllib.request.Request(
        f"{url}/api/workflow/greeting",
        data=body[1].encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        started: bytes = answer.read()
    return started.decode()


def test_the_tutorial_ends_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "greeting.py").write_text(_block("import batuta"), "utf-8")
    (tmp_path / "greeting.json").write_text(_block("{"), "utf-8")

    with _server(tmp_path, signal.SIGKILL) as url:
        shown = _watch(tmp_path, url)
        # The server is killed the moment the last id is here.
        runs = [_start(url) for _ in range(10)]

    assert "HELLO ADA" in shown
    with _server(tmp_path, signal.SIGTERM) as url:
        for run in runs:
            with urllib.request.urlopen(f"{url}/api/workflow/{run}") as answer:
                assert json.load(answer)["input"] == {"name": "ada"}
        assert "HELLO ADA" in _watch(tmp_path, url)
