"""WorkflowResourceApi and WorkflowExecutor: what the other tests of runs leave out."""

import json
from collections.abc import Callable

import pytest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.workflow_task import WorkflowTask
from conductor.client.http.models.workflow_test_request import WorkflowTestRequest
from conductor.client.http.rest import ApiException
from conductor.client.workflow.executor.workflow_executor import WorkflowExecutor

from tests.sdk.conftest import Sdk
from tests.sdk.proxy import Proxy
from tests.sdk.server import eventually

Name = Callable[[str], str]
CALLBACK_S = 3600


@pytest.fixture
def executor(sdk: Sdk) -> WorkflowExecutor:
    return WorkflowExecutor(sdk.configuration)


def test_the_tasks_of_a_run_are_answered_and_the_sdk_cannot_read_them(
    sdk: Sdk, proxy: Proxy, chain: str
) -> None:
    """The SDK (2.0.0) names a model for the answer that it does not have."""
    run_id = sdk.start(chain)
    api = Sdk(proxy.api_url).workflows.workflowResourceApi

    with pytest.raises(AttributeError, match="TaskListSearchResultSummary"):
        api.get_execution_status_task_list(run_id, start=0, count=1, status=["SCHEDULED"])
    with pytest.raises(ApiException) as refused:
        api.get_execution_status_task_list(run_id, status=["DONE"])

    page = json.loads(proxy.ledger[0][0].answer)
    assert (page["totalHits"], page["results"][0]["referenceTaskName"]) == (1, "t0")
    assert (refused.value.status, "DONE" in refused.value.message) == (400, True)


def test_runs_of_one_correlation_id_are_listed(sdk: Sdk, chain: str, name: Name) -> None:
    request = StartWorkflowRequest(name=chain, version=1, correlation_id=name("order"))
    ended, running = (sdk.workflows.start_workflow(request) for _ in range(2))
    sdk.workflows.terminate_workflow(ended)
    api = sdk.workflows.workflowResourceApi

    still_open = api.get_workflows2(chain, name("order"))
    every = api.get_workflows2(chain, name("order"), include_closed=True, include_tasks=True)

    assert [run.workflow_id for run in still_open] == [running]
    assert {run.workflow_id for run in every} == {ended, running}
    assert all(len(run.tasks) == 1 for run in every)


def test_a_task_that_waits_for_its_callback_is_offered_at_once(
    sdk: Sdk, chain: str, kind: str
) -> None:
    run_id = sdk.start(chain)
    task = sdk.tasks.poll_task(kind)
    result = TaskResult(task_id=task.task_id, workflow_instance_id=run_id)
    result.status, result.callback_after_seconds = "IN_PROGRESS", CALLBACK_S
    sdk.tasks.update_task(result)
    assert not sdk.tasks.poll_task(kind).task_id

    sdk.workflows.workflowResourceApi.reset_workflow(run_id)

    assert sdk.tasks.poll_task(kind).task_id == task.task_id


def test_a_decision_on_a_sound_run_changes_nothing(sdk: Sdk, chain: str) -> None:
    run_id = sdk.start(chain)
    before = sdk.workflows.get_workflow(run_id)

    sdk.workflows.workflowResourceApi.decide(run_id)

    assert sdk.workflows.get_workflow(run_id) == before


def test_a_call_on_a_thread_of_its_own_is_the_same_call(sdk: Sdk, chain: str) -> None:
    """The generated clients' `async_req`: a thread, whose `get` gives the answer."""
    run_id = sdk.start(chain)

    asked = sdk.workflows.workflowResourceApi.get_execution_status(run_id, async_req=True)
    asked.wait()

    assert asked.get().workflow_id == run_id


def test_an_execution_answers_at_the_end_of_the_run(
    sdk: Sdk, executor: WorkflowExecutor, name: Name
) -> None:
    setter = WorkflowTask(
        name="set", task_reference_name="set", type="SET_VARIABLE", input_parameters={"v": 7}
    )
    sdk.define(name("quick"), [setter], output_parameters={"v": "${workflow.variables.v}"})

    run = executor.execute(name("quick"), version=1, workflow_input={"a": 1}, request_id="r-1")

    assert (run.status, run.output, run.input) == ("COMPLETED", {"v": 7}, {"a": 1})
    assert run.request_id == "r-1"
    assert [task.reference_task_name for task in run.tasks] == ["set"]


def test_an_execution_until_a_name_that_no_task_has_is_refused(
    executor: WorkflowExecutor, chain: str
) -> None:
    with pytest.raises(ApiException) as refused:
        executor.execute(chain, version=1, wait_until_task_ref="typo")

    assert refused.value.status == 400
    assert "typo" in refused.value.message


def test_a_workflow_is_tested_with_mocked_results(sdk: Sdk, chain: str) -> None:
    """Mocks are given as dictionaries: the SDK's TaskMock (2.0.0) is sent with other names."""
    mocks = {"t0": [{"status": "COMPLETED"}], "t1": [{"status": "COMPLETED", "output": {"n": 5}}]}
    request = WorkflowTestRequest(name=chain, version=1, task_ref_to_mock_output=mocks)
    unknown = WorkflowTestRequest(name="unheard_of", version=1, task_ref_to_mock_output=mocks)

    run = sdk.workflows.test_workflow(request)
    with pytest.raises(ApiException) as refused:
        sdk.workflows.test_workflow(unknown)

    assert (run.status, run.output) == ("COMPLETED", {"end": 5})
    assert [task.status for task in run.tasks] == ["COMPLETED", "COMPLETED"]
    assert (refused.value.status, "unheard_of" in refused.value.message) == (404, True)


@pytest.fixture
def waits(sdk: Sdk, name: Name) -> str:
    """Register two WAIT tasks in a sub-workflow, and a parent with one more behind it."""
    first, second, last = (
        WorkflowTask(name=n, task_reference_name=n, type="WAIT", input_parameters={"of": n})
        for n in ("first", "second", "last")
    )
    child = WorkflowTask(name="child", task_reference_name="child", type="SUB_WORKFLOW")
    child.sub_workflow_param = {"name": name("inner"), "version": 1}
    sdk.define(name("inner"), [first, second])
    sdk.define(name("outer"), [child, last])
    return name("outer")


@pytest.mark.parametrize(
    ("strategy", "workflow", "reference"),
    [
        ("TARGET_WORKFLOW", "outer", "child"),  # the SDK takes it from the tasks
        ("BLOCKING_WORKFLOW", "inner", None),
        ("BLOCKING_TASK", "inner", "second"),
        ("BLOCKING_TASK_INPUT", "inner", "second"),
    ],
)
def test_a_signal_answers_as_its_strategy_says(
    sdk: Sdk,
    executor: WorkflowExecutor,
    waits: str,
    name: Name,
    strategy: str,
    workflow: str,
    reference: str | None,
) -> None:
    run_id = sdk.start(waits)
    inner = sdk.wait_for_task(run_id, "child", "IN_PROGRESS").sub_workflow_id
    sdk.wait_for_task(inner, "first", "IN_PROGRESS")

    answer = executor.signal(run_id, "COMPLETED", {"by": "signal"}, return_strategy=strategy)

    assert (answer.response_type, answer.target_workflow_id) == (strategy, run_id)
    assert answer.target_workflow_status == "RUNNING"
    assert answer.workflow_id == (run_id if workflow == "outer" else inner)
    assert answer.reference_task_name == reference
    if strategy == "BLOCKING_TASK_INPUT":
        assert answer.input["of"] == "second"
    child = sdk.workflows.get_workflow(inner)
    assert child.workflow_name == name("inner")
    assert child.tasks[0].output_data == {"by": "signal"}


def test_signals_end_one_wait_after_the_other(
    sdk: Sdk, executor: WorkflowExecutor, waits: str
) -> None:
    run_id = sdk.start(waits)
    inner = sdk.wait_for_task(run_id, "child", "IN_PROGRESS").sub_workflow_id

    for reference in ("first", "second"):
        sdk.wait_for_task(inner, reference, "IN_PROGRESS")
        executor.signal_async(run_id, "COMPLETED", {"by": reference})
        sdk.wait_for_task(inner, reference, "COMPLETED")
    sdk.wait_for_task(run_id, "last", "IN_PROGRESS")
    answer = executor.signal(run_id, "FAILED", {})
    with pytest.raises(ApiException) as nothing_waits:
        executor.signal(run_id, "COMPLETED", {})
    with pytest.raises(ApiException) as nobody:
        executor.signal_async("nobody", "COMPLETED", {})

    assert answer.target_workflow_status == "FAILED"
    assert (nothing_waits.value.status, nobody.value.status) == (404, 404)


def test_the_executor_updates_by_reference_and_brings_the_run(
    executor: WorkflowExecutor, sdk: Sdk, chain: str
) -> None:
    run_id = sdk.start(chain)

    run = executor.update_task_by_ref_name_sync({"n": 1}, run_id, "t0", "COMPLETED")
    answer = executor.update_task(run.tasks[1].task_id, run_id, {"n": 2}, "COMPLETED")

    assert [task.status for task in run.tasks] == ["COMPLETED", "SCHEDULED"]
    assert answer == run.tasks[1].task_id
    ended = eventually(lambda: executor.get_workflow(run_id, include_tasks=False), "it is shown")
    assert (ended.status, ended.output) == ("COMPLETED", {"end": 2})
