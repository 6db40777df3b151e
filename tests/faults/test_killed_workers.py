"""A server killed while its own workers have tasks in hand: the next one does them at once."""

import json
from pathlib import Path
from typing import Any

from batuta.cli.client import Client
from tests.cli.live import Process, wait_until

NAMES = ("plain", "async")  # of the two kinds of functions; both are at work when the server dies

# The tasks have responseTimeoutSeconds at its default: a lease lasts an hour.
HANGING = {
    "name": "hanging",
    "schemaVersion": 2,
    "tasks": [
        {
            "name": "fork",
            "taskReferenceName": "fork",
            "type": "FORK_JOIN",
            "forkTasks": [
                [{"name": f"hang_{name}", "taskReferenceName": name, "type": "SIMPLE"}]
                for name in NAMES
            ],
        },
        {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": list(NAMES)},
    ],
}
WORKERS = '''\
"""Workers that note each call, and end only once a file says so."""

import asyncio
import threading
from pathlib import Path

import batuta

FOLDER = Path(__file__).parent


def is_hanging(task: batuta.TaskContext) -> bool:
    with (FOLDER / task.reference_name).open("a") as calls:
        calls.write(f"{task.task_id} {task.poll_count}\\n")
    return not (FOLDER / "go").exists()


@batuta.task("hang_plain")
def hang_plain(task: batuta.TaskContext) -> dict:
    if is_hanging(task):
        threading.Event().wait()
    return {}


@batuta.task("hang_async")
async def hang_async(task: batuta.TaskContext) -> dict:
    if is_hanging(task):
        await asyncio.Event().wait()
    return {}
'''


class Servers:
    """`batuta serve` with the hanging workers, one process after the other on one database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: Process | None = None

    def start(self) -> Client:
        """Start a server and give a client of it."""
        options = ("--port", "0", "--db", str(self.folder / "batuta.db"))
        workers = ("--workers", str(self.folder / "hanging.py"))
        load = ("--load", str(self.folder / "hanging.json"))
        self._process = Process("serve", *options, *workers, *load, cwd=self.folder)
        return Client(self._process.wait_for(r"serves at (http://\S+)")[1])

    def kill(self) -> None:
        """End the server as a crash does."""
        assert self._process is not None, "a server was started"
        self._process.kill()

    def calls(self, reference_name: str) -> list[str]:
        """Return the calls of a function so far: task id and poll count of each."""
        noted = self.folder / reference_name
        return noted.read_text("utf-8").splitlines() if noted.exists() else []

    def have_called(self, count: int) -> bool:
        """Say whether each function was called so often."""
        return all(len(self.calls(name)) == count for name in NAMES)


def test_a_task_that_a_killed_server_was_working_on_is_done_by_the_next_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "hanging.json").write_text(json.dumps(HANGING), "utf-8")
    (tmp_path / "hanging.py").write_text(WORKERS, "utf-8")
    servers = Servers(tmp_path)
    run: dict[str, Any] = {}

    try:
        client = servers.start()
        workflow_id = client.post("/workflow/hanging", {})
        wait_until(lambda: servers.have_called(1))
        client.close()
        servers.kill()

        client = servers.start()
        wait_until(lambda: servers.have_called(2))
        assert client.get(f"/workflow/{workflow_id}")["status"] == "RUNNING"
        client.close()
        servers.kill()

        (tmp_path / "go").touch()
        client = servers.start()

        def has_ended() -> bool:
            run.update(client.get(f"/workflow/{workflow_id}"))
            return run["status"] != "RUNNING"

        wait_until(has_ended)
        client.close()
    finally:
        servers.kill()

    assert run["status"] == "COMPLETED"
    tasks = {task["referenceTaskName"]: task for task in run["tasks"]}
    assert len(tasks) == len(run["tasks"]), "no task was made anew"
    for name in NAMES:
        assert servers.calls(name) == [f"{tasks[name]['taskId']} 1"] * 3
        assert (tasks[name]["pollCount"], tasks[name]["retryCount"]) == (1, 0)
