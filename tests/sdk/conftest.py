"""The official Python SDK against a live server: the server, a proxy, the SDK's clients."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conductor.client.automator import task_handler
from conductor.client.automator.lease_tracker import LeaseManager
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.models.task import Task
from conductor.client.http.models.task_def import TaskDef
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.workflow import Workflow
from conductor.client.http.models.workflow_def import WorkflowDef
from conductor.client.http.models.workflow_task import WorkflowTask
from conductor.client.orkes.orkes_metadata_client import OrkesMetadataClient
from conductor.client.orkes.orkes_task_client import OrkesTaskClient
from conductor.client.orkes.orkes_workflow_client import OrkesWorkflowClient

from tests.sdk.calls.recorder import Ledger
from tests.sdk.proxy import Proxy
from tests.sdk.server import Server, eventually

FOLDER = Path(__file__).parent
SHORTER = 20  # by how much `quick_retries` shortens the SDK's pauses
IS_WHOLE = pytest.StashKey[bool]()  # all tests of this folder are run
_names = itertools.count(1)


class Sdk:
    """The SDK's clients of one server address, and the few steps that all tests share."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        self.configuration = Configuration(server_api_url=api_url)
        self.workflows = OrkesWorkflowClient(self.configuration)
        self.tasks = OrkesTaskClient(self.configuration)
        self.metadata = OrkesMetadataClient(self.configuration)

    def define_task(self, name: str, **more: Any) -> None:
        """Register a task definition whose attempts follow each other at once."""
        values = {"retry_count": 3, "retry_delay_seconds": 0, "response_timeout_seconds": 60}
        values |= {"timeout_seconds": 120, "owner_email": "sdk@batuta.example"}
        self.metadata.register_task_def(TaskDef(name=name, **(values | more)))

    def define_chain(self, workflow: str, task_types: list[str], **more: Any) -> None:
        """Register a workflow of SIMPLE tasks `t0`, `t1`, ... of these types, in a row."""
        tasks = [
            WorkflowTask(
                name=task_type,
                task_reference_name=f"t{number}",
                type="SIMPLE",
                input_parameters={"number": number, "given": "${workflow.input.given}"},
            )
            for number, task_type in enumerate(task_types)
        ]
        self.define(workflow, tasks, **more)

    def define(self, workflow: str, tasks: list[WorkflowTask], **more: Any) -> None:
        """Register a workflow of these tasks as version 1."""
        self.metadata.register_workflow_def(
            WorkflowDef(name=workflow, version=1, tasks=tasks, schema_version=2, **more),
            overwrite=True,
        )

    def start(self, workflow: str, given: Any = None) -> str:
        return self.workflows.start_workflow_by_name(workflow, {"given": given})

    def report(self, task: Task, status: str = "COMPLETED", **output: Any) -> str:
        """Report on a polled task by hand; give what the server answered."""
        result = TaskResult(task_id=task.task_id, workflow_instance_id=task.workflow_instance_id)
        result.status = status
        result.output_data = output
        return self.tasks.update_task(result)

    def wait_for(self, workflow_id: str, *statuses: str, limit_s: float = 20.0) -> Workflow:
        """Wait until a run has one of the statuses, by default until it has ended."""
        wanted = statuses or ("COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT")

        def look() -> Workflow | None:
            run = self.workflows.get_workflow(workflow_id, include_tasks=True)
            return run if run.status in wanted else None

        return eventually(look, f"workflow {workflow_id} is one of {wanted}", limit_s)

    def wait_for_task(self, workflow_id: str, reference: str, status: str) -> Task:
        """Wait until the newest task of a reference name has a status."""

        def look() -> Task | None:
            tasks = self.workflows.get_workflow(workflow_id, include_tasks=True).tasks
            found = [task for task in tasks if task.reference_task_name == reference]
            return found[-1] if found and found[-1].status == status else None

        return eventually(look, f"task {reference} of {workflow_id} is {status}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what stands in this folder; be silent on what the SDK does to itself.

    It calls attributes that it calls deprecated, and its async client leaves connections open
    when it replaces itself after an error. What looks back on all calls comes last.
    """
    ours = [item for item in items if item.path.is_relative_to(FOLDER)]
    for item in ours:
        item.add_marker(pytest.mark.sdk)
        for warning in ("Call to deprecated:DeprecationWarning", "unclosed:ResourceWarning"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore:{warning}"))
    items.sort(key=lambda item: item.path.name == "test_shown_calls.py")
    is_whole_files = not any("::" in argument for argument in config.invocation_params.args)
    collected = {item.path for item in ours}
    config.stash[IS_WHOLE] = is_whole_files and collected >= set(FOLDER.rglob("test_*.py"))


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember that a part of the folder is not run."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.config.stash[IS_WHOLE] = False


@pytest.fixture(scope="session", autouse=True)
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Note every call that the tests make by the SDK's generated clients."""
    ledger = Ledger(is_whole=request.config.stash[IS_WHOLE])
    with pytest.MonkeyPatch.context() as patch:
        ledger.observe(patch)
        yield ledger


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a live server, shared by the tests that do not kill theirs."""
    server = Server(tmp_path_factory.mktemp("sdk"))
    server.start()
    yield server
    server.stop()
    server.check_log()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """Give a live server that the test may kill."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()
    server.check_log()


@pytest.fixture
def sdk(server: Server) -> Sdk:
    return Sdk(server.api_url)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Give names that no other test of the shared server uses."""
    number = next(_names)
    return lambda stem: f"{stem}_{number}"


@pytest.fixture(autouse=True)
def _fresh_sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the functions that other tests decorated, and keep the SDK's log short."""
    monkeypatch.setattr(task_handler, "_decorated_functions", {})
    for variable in ("CONDUCTOR_SERVER_URL", "CONDUCTOR_AUTH_KEY", "CONDUCTOR_AUTH_SECRET"):
        monkeypatch.delenv(variable, raising=False)
    level = logging.root.level
    yield
    LeaseManager._reset_instance()
    logging.root.setLevel(level)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten pauses of a second and more to a twentieth, in this process.

    The SDK waits 10, 20 and 30 s between its tries to report a task, and no setting of it says
    otherwise. Its code stays as it is; only the clock it sleeps by runs faster.
    """
    sleep, sleep_async = time.sleep, asyncio.sleep

    def shorter(seconds: float) -> float:
        return seconds / SHORTER if seconds >= 1 else seconds

    async def doze(seconds: float, result: Any = None) -> Any:
        return await sleep_async(shorter(seconds), result)

    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(shorter(seconds)))
    monkeypatch.setattr(asyncio, "sleep", doze)
