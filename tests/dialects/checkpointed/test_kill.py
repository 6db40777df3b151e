"""A real server with class workflows: killed in the middle and started again."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dialects.checkpointed.classes import chain, form, waiting_for, write
from tests.sdk.server import ROOT, Server, eventually

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
KILLS = 3
pytestmark = pytest.mark.slow


class Home:
    """A server, its workflows, and requests with a token that `batuta token` made."""

    def __init__(self, folder: Path) -> None:
        self.workflows = folder / "workflows"
        self.workflows.mkdir()
        self.server = Server(folder)
        command = [sys.executable, "-m", "batuta", "token", "--user", "ada", "--expires", "1h"]
        made = subprocess.run(
            [*command, "--db", str(folder / "batuta.db")],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith("BATUTA_")},
            capture_output=True,
            text=True,
            check=True,
        )
        self.token = made.stdout.strip()

    def start(self) -> None:
        """Start the server, anew after a kill."""
        self.server.start("--workflows", str(self.workflows))

    def go(self, name: str) -> None:
        """Let the step go on that waits for a file."""
        (self.workflows / name).write_text("yes")

    @property
    def calls(self) -> list[str]:
        """What the steps have noted, in order."""
        path = self.workflows / "calls.txt"
        return path.read_text().split() if path.exists() else []

    def ask(self, line: str, data: bytes | None = None, **headers: str) -> Any:
        """Send a request and return its document."""
        method, path = line.split(" ")
        url = f"http://127.0.0.1:{self.server.port}{path}"
        told = {"Authorization": f"Bearer {self.token}", **headers}
        request = urllib.request.Request(url, data, told, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def execute(self, workflow_id: str, **parts: Any) -> str:
        """Start a job and return its id."""
        sent = form(workflow_id=workflow_id, **parts)
        kind = {"Content-Type": sent["headers"]["content-type"]}
        return str(self.ask("POST /workflows/execute", sent["raw"], **kind)["job_id"])

    def execution(self, job_id: str) -> Any:
        """Return an execution."""
        return self.ask(f"GET /workflows/execution/{job_id}")["execution"]

    def done(self, job_id: str) -> list[str]:
        """Return the steps whose checkpoints are completed."""
        found = self.execution(job_id)["checkpoints"].items()
        return [
            one["step_name"]
            for key, one in found
            if key != "_input"
            if one["status"] == "completed"
        ]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path)
    yield found
    for name in ("go-a", "go-c"):
        found.go(name)
    found.server.stop()


def test_s4_19_a_a_file_is_still_there_for_the_first_step_after_a_kill(home: Home) -> None:
    body = "    async def step_a(self, input_file, config):\n        note('a')\n" + waiting_for(
        "go-a"
    )
    body += "        return {'bytes': len(input_file.read())}\n"
    write(home.workflows, "job", "a", body=body)
    home.start()
    assert "Workflow retry manager started\nLoaded 2 workflows\n" in home.server.log
    job_id = home.execute("job", file=("a.png", "image/png", PNG))
    eventually(lambda: home.calls == ["a"], "the step has begun")

    home.server.kill()
    home.start()
    eventually(lambda: home.calls == ["a", "a"], "the step has begun again")
    home.go("go-a")
    eventually(lambda: home.execution(job_id)["status"] == "completed", "the job completes")

    assert home.execution(job_id)["checkpoints"]["0"]["output"] == {"bytes": len(PNG)}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        home.ask(f"GET /jobs/{job_id}", None, Authorization="Bearer no")


def test_s4_11_killed_in_a_step_only_that_step_is_repeated(home: Home) -> None:
    write(home.workflows, "job", "a", "b", "c", body=chain("a", "b", "c", c=waiting_for("go-c")))
    home.start()
    job_id = home.execute("job")
    eventually(lambda: home.calls == ["a", "b", "c"], "the third step has begun")
    assert home.done(job_id) == ["a", "b"]

    home.server.kill()
    home.start()
    assert home.done(job_id) == ["a", "b"]
    home.go("go-c")
    eventually(lambda: home.execution(job_id)["status"] == "completed", "the job completes")

    assert home.calls == ["a", "b", "c", "c"]


def test_s4_12_killed_as_a_checkpoint_is_written_nothing_committed_is_repeated(home: Home) -> None:
    steps = ("a", "b", "c", "d")
    methods = chain(*steps).replace("        return {", "        note('end')\n        return {")
    write(home.workflows, "job", *steps, body=methods)
    home.start()
    job_id = home.execute("job")
    for count in range(1, KILLS + 1):
        eventually(lambda count=count: home.calls.count("end") >= count, "a step has ended")
        home.server.kill()  # before, while or after the checkpoint is committed
        home.start()
    eventually(lambda: home.execution(job_id)["status"] == "completed", "the job completes")

    called = [word for word in home.calls if word != "end"]
    # A step begins by the commit that completes the one before, so none is ever gone back to.
    assert called == sorted(called)
    assert set(called) == set(steps)
    assert len(called) <= len(steps) + KILLS
    assert home.done(job_id) == list(steps)
