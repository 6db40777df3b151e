"""What a worker may say besides "done": errors, "later", log lines, "still alive"."""

import threading
import time
from collections.abc import Callable
from typing import Any

from conductor.client.automator.lease_tracker import LeaseManager
from conductor.client.context.task_context import TaskInProgress, get_task_context
from conductor.client.http.models.task import Task
from conductor.client.http.models.task_result import TaskResult
from conductor.client.worker.exception import NonRetryableException
from conductor.client.worker.worker_task import worker_task

from tests.sdk.conftest import Sdk
from tests.sdk.fleet import Fleet
from tests.sdk.proxy import Exchange, Fate, Proxy
from tests.sdk.server import eventually

Name = Callable[[str], str]


def test_an_exception_fails_the_attempt_and_another_one_is_made(sdk: Sdk, name: Name) -> None:
    kind, chain = name("shaky"), name("chain")
    sdk.define_task(kind, retry_count=3)
    sdk.define_chain(chain, [kind])

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def shaky(task: Task) -> dict:
        if task.retry_count < 2:
            raise ValueError(f"not at attempt {task.retry_count}")
        return {"attempt": task.retry_count}

    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain))

    assert run.status == "COMPLETED"
    assert [task.status for task in run.tasks] == ["FAILED", "FAILED", "COMPLETED"]
    assert [task.retry_count for task in run.tasks] == [0, 1, 2]
    assert run.tasks[0].reason_for_incompletion == "not at attempt 0"
    assert run.tasks[2].retried_task_id == run.tasks[1].task_id
    assert run.tasks[2].output_data == {"attempt": 2}


def test_an_async_workers_exception_is_retried_until_the_limit(sdk: Sdk, name: Name) -> None:
    kind, chain = name("broken"), name("chain")
    sdk.define_task(kind, retry_count=1)
    sdk.define_chain(chain, [kind])

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    async def broken(given: str) -> dict:
        raise ValueError(f"no {given} today")

    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain, "bread"))

    assert run.status == "FAILED"
    assert [task.status for task in run.tasks] == ["FAILED", "FAILED"]
    assert "no bread today" in run.reason_for_incompletion


def test_a_non_retryable_exception_ends_the_run_at_once(sdk: Sdk, name: Name) -> None:
    kind, chain = name("fatal"), name("chain")
    sdk.define_task(kind, retry_count=3)
    sdk.define_chain(chain, [kind])

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def fatal(given: str) -> dict:
        raise NonRetryableException(f"{given} does not exist")

    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain, "the board"))

    assert run.status == "FAILED"
    assert [task.status for task in run.tasks] == ["FAILED_WITH_TERMINAL_ERROR"]
    assert run.tasks[0].reason_for_incompletion == "the board does not exist"


def test_a_task_in_progress_comes_back_with_what_it_has(sdk: Sdk, name: Name) -> None:
    kind, chain = name("long"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind])
    polls: list[tuple[str, int]] = []

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def long(task: Task) -> Any:
        polls.append((task.task_id, task.poll_count))
        if len(polls) < 3:
            return TaskInProgress(callback_after_seconds=1, output={"share": len(polls)})
        return {"share": 3}

    started = time.monotonic()
    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain))
    took_s = time.monotonic() - started

    assert run.status == "COMPLETED"
    assert len(run.tasks) == 1
    assert polls == [(run.tasks[0].task_id, n) for n in (1, 2, 3)]
    assert run.tasks[0].output_data == {"share": 3}
    assert took_s >= 2, "each of the two callbacks was waited for"


def test_what_a_worker_logs_can_be_read(sdk: Sdk, name: Name) -> None:
    kind, chain = name("talker"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind])

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def talker(given: str) -> str:
        context = get_task_context()
        context.add_log(f"began with {given}")
        context.add_log('it said "done", \\o/ äöü')
        return given

    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain, "flash"))
    lines = sdk.tasks.get_task_logs(run.tasks[0].task_id)

    assert [line.log for line in lines] == ["began with flash", 'it said "done", \\o/ äöü']
    assert {line.task_id for line in lines} == {run.tasks[0].task_id}
    assert all(line.created_time > 1_600_000_000_000 for line in lines)


def test_a_failed_attempts_traceback_is_in_its_log(sdk: Sdk, name: Name) -> None:
    kind, chain = name("broken"), name("chain")
    sdk.define_task(kind, retry_count=0)
    sdk.define_chain(chain, [kind])

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def broken(given: str) -> str:
        raise RuntimeError(given)

    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain, "smoke"))
    lines = sdk.tasks.get_task_logs(run.tasks[0].task_id)

    assert "RuntimeError: smoke" in lines[0].log


def test_a_worker_may_report_a_result_of_its_own_making(sdk: Sdk, name: Name) -> None:
    kind, chain = name("maker"), name("chain")
    sdk.define_task(kind, retry_count=0)
    sdk.define_chain(chain, [kind])

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def maker(task: Task) -> TaskResult:
        result = TaskResult(
            task_id=task.task_id,
            workflow_instance_id=task.workflow_instance_id,
            worker_id="bench-7",
        )
        result.status = "FAILED"
        result.reason_for_incompletion = "voltage too low"
        result.output_data = {"volts": 2.9}
        return result

    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain))

    assert run.status == "FAILED"
    assert run.tasks[0].worker_id == "bench-7"
    assert run.tasks[0].output_data == {"volts": 2.9}
    assert run.tasks[0].reason_for_incompletion == "voltage too low"


def test_a_worker_that_extends_its_lease_keeps_its_task(sdk: Sdk, proxy: Proxy, name: Name) -> None:
    # The SDK extends at 0.8 of the lease and looks once a second; a lease as short as this one
    # needs it to look more often, which is an argument of its manager.
    LeaseManager.get_instance(check_interval=0.1)
    kind, chain = name("patient"), name("chain")
    sdk.define_task(kind, response_timeout_seconds=2, retry_count=0)
    sdk.define_chain(chain, [kind])
    let_go = threading.Event()

    @worker_task(task_definition_name=kind, lease_extend_enabled=True, poll_interval_millis=20)
    def patient(given: str) -> str:
        let_go.wait(30)
        return given

    with Fleet(proxy.api_url):
        run_id = sdk.start(chain, "kept")
        try:
            # The second extension comes after 3.2 s, when a lease never extended is long gone.
            eventually(lambda: len(_extensions(proxy)) == 2, "the lease was extended twice")
            meanwhile = sdk.workflows.get_workflow(run_id)
        finally:
            let_go.set()
        run = sdk.wait_for(run_id)

    assert [answered.status for answered in _extensions(proxy)] == [200, 200]
    assert [task.status for task in meanwhile.tasks] == ["IN_PROGRESS"]
    assert run.status == "COMPLETED"
    assert [task.status for task in run.tasks] == ["COMPLETED"]
    assert run.tasks[0].poll_count == 1


def test_a_worker_that_is_silent_loses_its_task(sdk: Sdk, name: Name) -> None:
    kind, chain = name("silent"), name("chain")
    sdk.define_task(kind, response_timeout_seconds=1, retry_count=1)
    sdk.define_chain(chain, [kind])
    let_go = threading.Event()
    attempts: list[int] = []

    @worker_task(task_definition_name=kind, thread_count=2, poll_interval_millis=20)
    def silent(task: Task) -> int:
        attempts.append(task.retry_count)
        if task.retry_count == 0:
            let_go.wait(30)
        return task.retry_count

    with Fleet(sdk.api_url):
        try:
            run = sdk.wait_for(sdk.start(chain))
        finally:
            let_go.set()  # its late report must change nothing

    eventually(lambda: len(attempts) == 2, "both attempts were made")
    again = sdk.workflows.get_workflow(run.workflow_id)
    assert [task.status for task in run.tasks] == ["TIMED_OUT", "COMPLETED"]
    assert [task.status for task in again.tasks] == ["TIMED_OUT", "COMPLETED"]
    assert again.tasks[1].output_data == {"result": 1}


def _extensions(proxy: Proxy) -> list[Exchange]:
    return [e for e in proxy.suffered(Fate.PASS, "/api/tasks") if b'"extendLease": true' in e.body]
