"""A server with all examples loaded, and their workers as processes that a test may kill."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batuta.cli.client import Client
from batuta.model.error import NotFoundError
from tests.cli.live import Process, environment, server, wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NAMES = ("order_saga", "approval", "fan_out", "customer_import", "weather")
ENDED = ("COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT")
RUN_S = 45.0  # a lost lease of five seconds, and a machine that is shared


def places(home: Path) -> dict[str, str]:
    """Give the settings that keep the examples' files in a folder and let no work take time."""
    found = {}
    for name in NAMES:
        found[f"{name.upper()}_HOME"] = str(home / name)
        found[f"{name.upper()}_PACE"] = "0"
    return found


def environment_of(url: str, home: Path) -> dict[str, str]:
    """Give what a terminal has in which the environment was activated, for a server."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return environment(CONDUCTOR_SERVER_URL=url, PATH=path, **places(home))


class Stage:
    """What every test of an example does with the server."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self.client = Client(url)

    @contextlib.contextmanager
    def workers(self, name: str, **more: str) -> Iterator[Process]:
        """Run the workers of an example in a process of their own."""
        settings = places(self.home) | more
        running = Process("worker", f"examples.{name}.workers", "--server", self.url, **settings)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()

    def start(self, workflow: str, **workflow_input: Any) -> str:
        """Start a run and give its id."""
        return str(self.client.post(f"/workflow/{workflow}", workflow_input))

    def run(self, workflow_id: str) -> dict[str, Any]:
        """Read a run with its tasks."""
        found: dict[str, Any] = self.client.get(f"/workflow/{workflow_id}?includeTasks=true")
        return found

    def ended(self, workflow_id: str) -> dict[str, Any]:
        """Wait until a run has ended, and read it."""

        def has_ended() -> bool:
            # A failure workflow is started by a message that the end of its run has sent.
            with contextlib.suppress(NotFoundError):
                return self.run(workflow_id)["status"] in ENDED
            return False

        wait_until(has_ended, RUN_S)
        return self.run(workflow_id)

    def handler_of(self, run: dict[str, Any]) -> dict[str, Any]:
        """Wait until the failure workflow of a run has ended, and read it."""
        return self.ended(run["output"]["conductor.failure_workflow"])

    def wait_for_task(self, workflow_id: str, reference: str, status: str) -> None:
        """Wait until an attempt at a task has a status."""
        wait_until(lambda: status in attempts(self.run(workflow_id), reference), RUN_S)


def attempts(run: dict[str, Any], reference: str) -> list[str]:
    """Give the status of each attempt at a task."""
    return [task["status"] for task in run["tasks"] if task["referenceTaskName"] == reference]


def references(run: dict[str, Any]) -> list[str]:
    """Give the reference names of the tasks, in the order in which they were made."""
    return [task["referenceTaskName"] for task in run["tasks"]]


@contextlib.contextmanager
def open_stage(home: Path) -> Iterator[Stage]:
    """Serve the definitions of all examples from a database in a folder."""
    folders = [str(folder) for folder in sorted(EXAMPLES.glob("*/definitions"))]
    options = [part for folder in folders for part in ("--load", folder)]
    with server(home / "runs.db", *options) as url:
        stage = Stage(url, home)
        yield stage
        stage.client.close()


@contextlib.contextmanager
def weather_service(port: int = 0) -> Iterator[str]:
    """Run the weather service and give its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.weather.service", "--port", str(port)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        try:
            yield service.stdout.readline().split()[-1]
        finally:
            service.kill()
