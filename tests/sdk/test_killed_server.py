"""The server is killed, or stopped, and started again while SDK workers are at work."""

import threading
from collections.abc import Callable

import pytest
from conductor.client.http.models.task import Task
from conductor.client.http.models.workflow import Workflow
from conductor.client.worker.worker_task import worker_task

from tests.sdk.conftest import Sdk
from tests.sdk.fleet import Fleet
from tests.sdk.server import Server, eventually

STEPS = 6
RUNS = 8
KILLS = 2


class Work:
    """Chains of three kinds of tasks, a worker for each, and a ledger of what they did."""

    def __init__(self, sdk: Sdk, name: Callable[[str], str], lease_s: int) -> None:
        self.sdk = sdk
        self.done: list[str] = []
        self.runs: list[str] = []
        self._chain = name("chain")
        self._lock = threading.Lock()

        def step(task: Task) -> str:  # the SDK copies it, so it is no method
            with self._lock:
                self.done.append(task.task_id)
            return task.task_id

        kinds = [name("one"), name("two"), name("three")]
        for kind in kinds:  # with one thread each: see test_lossy_network.py
            sdk.define_task(kind, response_timeout_seconds=lease_s, retry_count=10)
            worker_task(task_definition_name=kind, poll_interval_millis=20)(step)
        sdk.define_chain(self._chain, kinds * 2, output_parameters={"last": "${t5.output.result}"})

    def begin(self) -> None:
        """Start runs, and return when the workers are in the midst of them."""
        self.runs += [self.sdk.start(self._chain) for _ in range(RUNS)]
        target = len(self.done) + RUNS
        eventually(lambda: len(self.done) >= target, "the workers are at work")

    def check_unfinished(self) -> None:
        assert len(self.done) < len(self.runs) * STEPS, "the server went when all was done"

    def check(self, run: Workflow) -> None:
        """Fail unless each step of a run was completed once, by work really done."""
        completed = [task for task in run.tasks if task.status == "COMPLETED"]
        assert run.status == "COMPLETED", run.reason_for_incompletion
        assert [t.reference_task_name for t in completed] == [f"t{n}" for n in range(STEPS)]
        assert {task.task_id for task in completed} <= set(self.done)
        assert run.output == {"last": completed[-1].task_id}


@pytest.mark.usefixtures("quick_retries")
def test_workers_go_on_after_the_server_was_killed(
    own_server: Server, name: Callable[[str], str]
) -> None:
    # A task that was handed out by an answer nobody read comes back when its lease is over.
    work = Work(Sdk(own_server.api_url), name, lease_s=2)

    with Fleet(own_server.api_url):
        for _ in range(KILLS):
            work.begin()
            own_server.kill()
            own_server.start()
            work.check_unfinished()
        ended = [work.sdk.wait_for(run, limit_s=50) for run in work.runs]

    for run in ended:
        work.check(run)
        assert {task.status for task in run.tasks} <= {"COMPLETED", "TIMED_OUT"}


@pytest.mark.usefixtures("quick_retries")
def test_a_server_that_is_stopped_costs_no_attempt(
    own_server: Server, name: Callable[[str], str]
) -> None:
    work = Work(Sdk(own_server.api_url), name, lease_s=100)

    with Fleet(own_server.api_url):
        work.begin()
        own_server.stop()
        own_server.start()
        work.check_unfinished()
        ended = [work.sdk.wait_for(run, limit_s=50) for run in work.runs]

    for run in ended:
        work.check(run)
        assert {task.status for task in run.tasks} == {"COMPLETED"}
    assert len(work.done) == len(set(work.done)), "each task was done once"
