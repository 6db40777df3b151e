"""A network that loses, cuts, resets, delays and repeats: each task is still completed once.

The client of a lost answer cannot know what became of its request. The SDK's worker sends its
report again, and a second delivery must change nothing. A task in a lost answer to a poll, or to
update-v2, is held by a worker that never heard of it: its lease ends it, and a new attempt with a
new id is made. So "once" is: one attempt of each reference name is COMPLETED, and the run ends
with what that attempt returned.

Each sync worker has one thread here. With more, the SDK (2.0.0) hangs now and then for the two
minutes of its read time-out: the thread that meets a broken connection closes the client under
the others, and a read on a socket that another thread has closed does not end.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from conductor.client.context.task_context import get_task_context
from conductor.client.event.listeners import TaskRunnerEventsListener
from conductor.client.event.task_runner_events import TaskUpdateFailure
from conductor.client.http.models.workflow import Workflow
from conductor.client.http.rest import ApiException
from conductor.client.worker.worker_task import worker_task

from tests.sdk.conftest import Sdk
from tests.sdk.fleet import Fleet
from tests.sdk.proxy import Exchange, Fate, Proxy, first_answer_is_lost
from tests.sdk.server import eventually

Name = Callable[[str], str]
STEPS = 3
RUNS = 4
LOST_TASK_S = 1  # the lease of a task whose worker never heard of it
UPDATE_V2 = "/api/tasks/update-v2"


class Lost(TaskRunnerEventsListener):
    """Hears of results that the SDK gave up on."""

    def __init__(self) -> None:
        self.results: list[TaskUpdateFailure] = []

    def on_task_update_failure(self, event: TaskUpdateFailure) -> None:
        self.results.append(event)


@pytest.fixture
def work(sdk: Sdk, name: Name) -> "Work":
    return Work(sdk, name)


class Work:
    """A chain of tasks, by two sync workers and an async one between them, and a ledger."""

    def __init__(self, sdk: Sdk, name: Name) -> None:
        self.sdk = sdk
        self.chain = name("chain")
        self.done: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        kinds = [name("sync"), name("async"), name("also_sync")]
        for kind in kinds:
            sdk.define_task(kind, response_timeout_seconds=LOST_TASK_S, retry_count=10)
        sdk.define_chain(self.chain, kinds, output_parameters={"last": "${t2.output.result}"})

        @worker_task(task_definition_name=kinds[0], poll_interval_millis=20)
        @worker_task(task_definition_name=kinds[2], poll_interval_millis=20)
        def sync(number: int) -> str:  # noqa: ARG001
            return self._note()

        @worker_task(task_definition_name=kinds[1], thread_count=4, poll_interval_millis=20)
        async def awaited(number: int) -> str:  # noqa: ARG001
            return self._note()

    def _note(self) -> str:
        task = get_task_context().task
        with self._lock:
            self.done.append((task.workflow_instance_id, task.reference_task_name))
        return task.task_id

    def check(self, run: Workflow) -> None:
        """Fail unless each step of a run was completed exactly once, by work really done."""
        completed = [task for task in run.tasks if task.status == "COMPLETED"]
        others = Counter(task.status for task in run.tasks if task.status != "COMPLETED")
        assert run.status == "COMPLETED", run.reason_for_incompletion
        assert [task.reference_task_name for task in completed] == [f"t{n}" for n in range(STEPS)]
        assert [task.output_data for task in completed] == [
            {"result": task.task_id} for task in completed
        ]
        assert run.output == {"last": completed[-1].task_id}
        assert set(others) <= {"TIMED_OUT"}, "only lost hand-outs were tried again"
        for task in completed:
            assert (run.workflow_id, task.reference_task_name) in self.done


@pytest.mark.slow
@pytest.mark.usefixtures("quick_retries")
def test_when_the_first_answer_to_each_request_is_lost_nothing_else_is(
    sdk: Sdk, proxy: Proxy, work: Work
) -> None:
    proxy.plan = first_answer_is_lost
    through = Sdk(proxy.api_url)
    lost = Lost()

    with Fleet(proxy.api_url, [lost]):
        runs = [_start_until_answered(through, work.chain, n) for n in range(RUNS)]
        ended = [sdk.wait_for(run, limit_s=50) for run in runs]
        eventually(lambda: _bodies(proxy, Fate.DROP) == _bodies(proxy, Fate.PASS), "all came again")
        later = [sdk.workflows.get_workflow(run) for run in runs]

    for run in (*ended, *later):
        work.check(run)
    assert lost.results == []
    assert len(proxy.suffered(Fate.DROP, f"/api/workflow/{work.chain}")) == RUNS
    assert len(_bodies(proxy, Fate.DROP)) >= RUNS * STEPS


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("fate", [Fate.RESET, Fate.CUT, Fate.LOSE])
def test_a_report_whose_connection_breaks_is_sent_again(
    sdk: Sdk, proxy: Proxy, work: Work, fate: Fate
) -> None:
    proxy.plan = _first_report_meets(fate)

    with Fleet(proxy.api_url):
        ended = [sdk.wait_for(run, limit_s=40) for run in _starts(sdk, work)]

    for run in ended:
        work.check(run)
    assert len(proxy.suffered(fate, UPDATE_V2)) >= RUNS * STEPS


def test_reports_that_arrive_twice_count_once(sdk: Sdk, proxy: Proxy, work: Work) -> None:
    proxy.plan = _each_report_meets(Fate.TWICE)

    with Fleet(proxy.api_url):
        ended = [sdk.wait_for(run, limit_s=40) for run in _starts(sdk, work)]

    for run in ended:
        work.check(run)
    assert len(proxy.suffered(Fate.TWICE, UPDATE_V2)) >= RUNS * STEPS


def test_slow_answers_slow_the_work_and_nothing_else(sdk: Sdk, proxy: Proxy, work: Work) -> None:
    proxy.plan = _each_report_meets(Fate.DELAY)

    with Fleet(proxy.api_url):
        ended = [sdk.wait_for(run, limit_s=40) for run in _starts(sdk, work)]

    for run in ended:
        work.check(run)
    assert all(len(run.tasks) == STEPS for run in ended)


@pytest.mark.usefixtures("quick_retries")
def test_polls_whose_tasks_are_lost_cost_one_lease(sdk: Sdk, proxy: Proxy, work: Work) -> None:
    lost_once: set[str] = set()

    def plan(exchange: Exchange) -> Fate:
        is_first = exchange.is_poll and exchange.answer not in (b"", b"[]")
        if is_first and exchange.path not in lost_once:
            lost_once.add(exchange.path)
            return Fate.DROP
        return Fate.PASS

    proxy.plan = plan

    with Fleet(proxy.api_url):
        ended = [sdk.wait_for(run, limit_s=40) for run in _starts(sdk, work)]

    for run in ended:
        work.check(run)
    assert len(lost_once) == STEPS
    timed_out = [t for run in ended for t in run.tasks if t.status == "TIMED_OUT"]
    assert len(timed_out) >= STEPS


@pytest.mark.usefixtures("quick_retries")
def test_a_result_that_the_sdk_gave_up_on_is_made_again(sdk: Sdk, proxy: Proxy, work: Work) -> None:
    given_up: set[bytes] = set()
    lost = Lost()

    def plan(exchange: Exchange) -> Fate:
        if exchange.path == UPDATE_V2 and (not given_up or exchange.body in given_up):
            given_up.add(exchange.body)
            return Fate.LOSE
        return Fate.PASS

    proxy.plan = plan

    with Fleet(proxy.api_url, [lost]):
        run = sdk.wait_for(sdk.start(work.chain), limit_s=40)

    work.check(run)
    assert [event.retry_count for event in lost.results] == [4]
    assert [task.status for task in run.tasks] == ["TIMED_OUT", *["COMPLETED"] * STEPS]
    assert lost.results[0].task_id == run.tasks[0].task_id


@pytest.mark.usefixtures("quick_retries")
def test_a_lost_answer_to_a_control_is_harmless(sdk: Sdk, proxy: Proxy, work: Work) -> None:
    proxy.plan = first_answer_is_lost
    through = Sdk(proxy.api_url)
    run_id = sdk.start(work.chain)

    # PUT and DELETE are sent again by the client itself, and the second finds it done.
    through.workflows.pause_workflow(run_id)
    paused = sdk.workflows.get_workflow(run_id)
    through.metadata.update_task_def(sdk.metadata.get_task_def(paused.tasks[0].task_def_name))

    assert paused.status == "PAUSED"
    assert len(proxy.suffered(Fate.DROP, "/api/")) == 2


def _bodies(proxy: Proxy, fate: Fate) -> set[bytes]:
    return {exchange.body for exchange in proxy.suffered(fate, UPDATE_V2)}


def _starts(sdk: Sdk, work: Work) -> list[str]:
    return [sdk.start(work.chain, number) for number in range(RUNS)]


def _start_until_answered(sdk: Sdk, workflow: str, given: Any) -> str:
    """Start, and start again when no answer came: the SDK does not repeat a POST by itself.

    The run of the lost answer exists too; to start only once takes an idempotency key.
    """
    try:
        return sdk.start(workflow, given)
    except ApiException as error:
        if not error.transient:
            raise
        return sdk.start(workflow, given)


def _first_report_meets(fate: Fate) -> Callable[[Exchange], Fate]:
    asked_before_sending = fate is Fate.LOSE

    def plan(exchange: Exchange) -> Fate:
        is_now = (exchange.status == 0) is asked_before_sending
        if exchange.path == UPDATE_V2 and exchange.nth == 1 and is_now:
            # Half of nothing is nothing: an empty answer cannot be cut, but it can be dropped.
            return fate
        return Fate.PASS

    return plan


def _each_report_meets(fate: Fate) -> Callable[[Exchange], Fate]:
    asked_before_sending = fate is Fate.TWICE

    def plan(exchange: Exchange) -> Fate:
        is_now = (exchange.status == 0) is asked_before_sending
        return fate if exchange.path == UPDATE_V2 and is_now else Fate.PASS

    return plan
