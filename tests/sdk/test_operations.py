"""OrkesWorkflowClient and OrkesTaskClient restart, rerun, skip, remove and wait."""

from collections.abc import Callable

import pytest
from conductor.client.http.models.rerun_workflow_request import RerunWorkflowRequest
from conductor.client.http.models.skip_task_request import SkipTaskRequest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.task import Task
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.rest import ApiException

from tests.sdk.conftest import Sdk

Name = Callable[[str], str]


@pytest.fixture
def kind(sdk: Sdk, name: Name) -> str:
    sdk.define_task(name("step"))
    return name("step")


@pytest.fixture
def chain(sdk: Sdk, name: Name, kind: str) -> str:
    sdk.define_chain(name("chain"), [kind, kind])
    return name("chain")


def _finish(sdk: Sdk, task: Task) -> None:
    result = TaskResult(task_id=task.task_id, workflow_instance_id=task.workflow_instance_id)
    result.status = "COMPLETED"
    sdk.tasks.update_task(result)


def _ended(sdk: Sdk, chain: str, kind: str) -> str:
    run_id = sdk.workflows.start_workflow_by_name(chain, {"given": 1})
    for _ in range(2):
        _finish(sdk, sdk.tasks.poll_task(kind))
    assert sdk.workflows.get_workflow(run_id).status == "COMPLETED"
    return run_id


def test_an_ended_run_is_restarted_and_rerun(sdk: Sdk, chain: str, kind: str) -> None:
    run_id = _ended(sdk, chain, kind)

    sdk.workflows.restart_workflow(run_id, use_latest_def=True)
    _finish(sdk, sdk.tasks.poll_task(kind))
    _finish(sdk, sdk.tasks.poll_task(kind))
    second = sdk.workflows.get_workflow(run_id).tasks[1]
    request = RerunWorkflowRequest(re_run_from_task_id=second.task_id, task_input={"number": 9})
    answer = sdk.workflows.rerun_workflow(run_id, request)

    again = sdk.tasks.poll_task(kind)
    assert answer == run_id
    assert (again.reference_task_name, again.input_data) == ("t1", {"number": 9})
    _finish(sdk, again)
    assert sdk.workflows.get_workflow(run_id).status == "COMPLETED"


def test_a_task_is_skipped(sdk: Sdk, chain: str, kind: str) -> None:
    """The SDK sends its request as a query parameter that is no JSON; only a body is read."""
    run_id = sdk.workflows.start_workflow_by_name(chain, {})
    request = SkipTaskRequest(task_input={"i": 1}, task_output={"o": 2})

    sdk.workflows.skip_task_from_workflow(run_id, "t1", request)

    skipped = sdk.workflows.get_workflow(run_id).tasks[0]
    assert (skipped.status, skipped.reference_task_name) == ("SKIPPED", "t1")
    _finish(sdk, sdk.tasks.poll_task(kind))
    assert sdk.workflows.get_workflow(run_id).status == "COMPLETED"


def test_a_run_is_deleted(sdk: Sdk, chain: str, kind: str) -> None:
    run_id = _ended(sdk, chain, kind)

    sdk.workflows.delete_workflow(run_id)

    with pytest.raises(ApiException) as refused:
        sdk.workflows.get_workflow(run_id)
    assert refused.value.status == 404


def test_an_execution_waits_for_a_task_or_its_time(sdk: Sdk, chain: str) -> None:
    request = StartWorkflowRequest(name=chain, version=1, input={"given": 1})

    run = sdk.workflows.execute_workflow(request, "request-1", None, 1)

    assert (run.status, run.tasks[0].reference_task_name) == ("RUNNING", "t0")
    late = sdk.workflows.execute_workflow_with_return_strategy(
        request, wait_for_seconds=1, return_strategy="TARGET_WORKFLOW"
    )
    assert (late.response_type, late.target_workflow_status) == ("TARGET_WORKFLOW", "RUNNING")


def test_a_report_by_reference_brings_the_run(sdk: Sdk, chain: str) -> None:
    run_id = sdk.workflows.start_workflow_by_name(chain, {})

    run = sdk.tasks.update_task_sync(run_id, "t0", "COMPLETED", {"number": 3})

    assert [task.status for task in run.tasks] == ["COMPLETED", "SCHEDULED"]
    assert run.tasks[0].output_data == {"number": 3}
