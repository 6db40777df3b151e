"""The server is killed and started again while SDK workers are at work."""

import threading
from collections.abc import Callable

import pytest
from conductor.client.http.models.task import Task
from conductor.client.worker.worker_task import worker_task

from tests.sdk.conftest import Sdk
from tests.sdk.fleet import Fleet
from tests.sdk.server import Server, eventually

STEPS = 6
RUNS = 8
KILLS = 2


@pytest.mark.usefixtures("quick_retries")
def test_workers_go_on_after_the_server_was_killed(
    own_server: Server, name: Callable[[str], str]
) -> None:
    sdk = Sdk(own_server.api_url)
    kinds, chain = [name("one"), name("two"), name("three")], name("chain")
    for kind in kinds:
        # A task that was handed out by an answer nobody read comes back when its lease is over.
        sdk.define_task(kind, response_timeout_seconds=2, retry_count=10)
    sdk.define_chain(chain, kinds * 2, output_parameters={"last": "${t5.output.result}"})
    done: list[str] = []
    lock = threading.Lock()

    def step(task: Task) -> str:
        with lock:
            done.append(task.task_id)
        return task.task_id

    for kind in kinds:  # of one thread each: see test_lossy_network.py
        worker_task(task_definition_name=kind, poll_interval_millis=20)(step)

    runs: list[str] = []
    with Fleet(own_server.api_url):
        for kill in range(1, KILLS + 1):
            runs += [sdk.start(chain) for _ in range(RUNS)]
            target = len(done) + RUNS
            eventually(lambda: len(done) >= target, "the workers are in the midst of it")  # noqa: B023
            own_server.kill()
            own_server.start()
            assert len(done) < len(runs) * STEPS, f"kill {kill} came when all was done"
        ended = [sdk.wait_for(run, limit_s=50) for run in runs]

    for run in ended:
        completed = [task for task in run.tasks if task.status == "COMPLETED"]
        assert run.status == "COMPLETED", run.reason_for_incompletion
        assert [t.reference_task_name for t in completed] == [f"t{n}" for n in range(STEPS)]
        assert {task.task_id for task in completed} <= set(done)
        assert run.output == {"last": completed[-1].task_id}
        assert {task.status for task in run.tasks} <= {"COMPLETED", "TIMED_OUT"}
