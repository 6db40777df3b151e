"""TaskHandler as users run it, a process for each worker; and the page that says how."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.configuration.settings.authentication_settings import AuthenticationSettings
from conductor.client.orkes.orkes_workflow_client import OrkesWorkflowClient

from tests.sdk import howto
from tests.sdk.conftest import Sdk
from tests.sdk.proxy import Proxy
from tests.sdk.server import eventually

STOP_LIMIT_S = 20

Name = Callable[[str], str]

TWO_WORKERS = """
import os
import sys

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.worker.worker_task import worker_task


@worker_task(task_definition_name="NAME_sync", poll_interval_millis=20)
def sync(number: int) -> dict:
    if not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), 9)
    return {"process": os.getpid()}


@worker_task(task_definition_name="NAME_async", poll_interval_millis=20)
async def awaited(number: int) -> dict:
    return {"process": os.getpid()}


if __name__ == "__main__":
    handler = TaskHandler(
        configuration=Configuration(), monitor_interval_seconds=0.1, restart_backoff_seconds=0.1
    )
    with handler:
        handler.start_processes()
        handler.join_processes()
"""


class Script:
    """A program of a user's in a process of its own, ended as by Ctrl-C."""

    def __init__(self, path: Path, source: str, api_url: str) -> None:
        path.write_text(source, "utf-8")
        self._said = path.with_suffix(".out")
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, path.name],
                cwd=path.parent,
                env=os.environ | {"CONDUCTOR_SERVER_URL": api_url},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._said.read_text("utf-8", "replace")

    def wait(self) -> int:
        return self.process.wait(STOP_LIMIT_S)

    def interrupt(self) -> None:
        """End it, and whatever it started: the group is its own."""
        try:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_LIMIT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing was left
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_LIMIT_S)


Run = Callable[[str, str], Script]


@pytest.fixture
def run(tmp_path: Path, sdk: Sdk) -> Iterator[Run]:
    """Give what runs a program by file name and source; all are ended after the test."""
    scripts: list[Script] = []

    def start(file_name: str, source: str) -> Script:
        scripts.append(Script(tmp_path / file_name, source, sdk.api_url))
        return scripts[-1]

    yield start
    for script in scripts:
        if script.process.poll() is None:
            script.interrupt()


def test_the_programs_of_the_page_do_what_it_says(run: Run) -> None:
    programs = howto.programs("Python")
    assert list(programs) == ["worker.py", "start.py"]
    for file_name in programs:
        assert f"    python {file_name}\n" in howto.section("Python")

    worker = run("worker.py", programs["worker.py"])
    start = run("start.py", programs["start.py"])

    assert start.wait() == 0, start.output
    assert start.output.splitlines()[-1] == howto.promise("Python")
    assert worker.process.poll() is None, worker.output
    worker.interrupt()


@pytest.mark.slow
def test_a_worker_process_that_dies_is_replaced_and_its_task_done_again(
    sdk: Sdk, run: Run, name: Name
) -> None:
    for kind in (name("sync"), name("async")):
        sdk.define_task(kind, response_timeout_seconds=1)
    sdk.define_chain(name("chain"), [name("sync"), name("async"), name("sync")])
    source = TWO_WORKERS.replace("NAME_sync", name("sync")).replace("NAME_async", name("async"))

    handler = run("two_workers.py", source)
    ended = sdk.wait_for(sdk.start(name("chain")), limit_s=40)

    assert ended.status == "COMPLETED", handler.output
    assert [t.status for t in ended.tasks] == ["TIMED_OUT", "COMPLETED", "COMPLETED", "COMPLETED"]
    sync_process, async_process, last = [task.output_data["process"] for task in ended.tasks[1:]]
    assert sync_process == last != async_process
    assert handler.process.pid not in {sync_process, async_process}


def test_a_client_with_a_key_goes_on_without_a_token(sdk: Sdk, proxy: Proxy, name: Name) -> None:
    sdk.define_chain(name("chain"), [name("step")])
    keyed = Configuration(
        server_api_url=proxy.api_url,
        authentication_settings=AuthenticationSettings(key_id="k", key_secret="s"),
    )

    client = OrkesWorkflowClient(keyed)
    run_id = client.start_workflow_by_name(name("chain"), {})

    asked = [exchange for exchange, _ in proxy.ledger if exchange.path == "/api/token"]
    assert [exchange.status for exchange in asked] == [404]
    assert eventually(lambda: client.get_workflow(run_id).status, "it has a status") == "RUNNING"
