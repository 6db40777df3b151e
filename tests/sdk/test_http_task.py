"""HTTP tasks written with the SDK's HttpTask; the server calls itself, which it may."""

from collections.abc import Callable

import pytest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.task_result import TaskResult
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.executor.workflow_executor import WorkflowExecutor
from conductor.client.workflow.task.http_task import HttpInput, HttpMethod, HttpTask

from tests.sdk.conftest import Sdk

Name = Callable[[str], str]


@pytest.fixture
def executor(sdk: Sdk) -> WorkflowExecutor:
    return WorkflowExecutor(sdk.configuration)


def _start(executor: WorkflowExecutor, name: str, call: HttpTask) -> str:
    workflow = ConductorWorkflow(executor, name, version=1) >> call
    workflow.output_parameters(
        {"status": call.status_code(), "body": call.body(), "headers": call.headers()}
    )
    workflow.register(overwrite=True)
    return executor.start_workflow(StartWorkflowRequest(name=name, version=1, input={"n": 1}))


def test_what_the_sdk_reads_of_an_answer_is_there(
    sdk: Sdk, executor: WorkflowExecutor, name: Name
) -> None:
    document = {"name": name("made"), "ownerEmail": "a@b.example", "retryCount": 7}
    asked = HttpInput(
        uri=f"{sdk.api_url}/metadata/taskdefs", method=HttpMethod.POST, body=[document]
    )
    made = sdk.wait_for(_start(executor, name("post"), HttpTask("call", asked)))
    read = HttpTask("call", {"uri": f"{sdk.api_url}/metadata/taskdefs/{document['name']}"})

    run = sdk.wait_for(_start(executor, name("get"), read))

    assert (made.status, made.output["status"]) == ("COMPLETED", 200)
    assert (run.status, run.output["status"]) == ("COMPLETED", 200)
    assert run.output["body"]["retryCount"] == 7
    assert run.output["headers"]["content-type"] == ["application/json"]


def test_an_error_fails_the_run_and_keeps_its_answer(
    sdk: Sdk, executor: WorkflowExecutor, name: Name
) -> None:
    call = HttpTask("call", {"uri": f"{sdk.api_url}/workflow/none", "method": "GET"})

    run = sdk.wait_for(_start(executor, name("missing"), call))

    [task] = run.tasks
    assert (run.status, task.status) == ("FAILED", "FAILED")
    assert task.reason_for_incompletion.startswith("Failed to invoke HTTP task due to: 404")
    assert task.output_data["response"]["statusCode"] == 404
    assert task.output_data["response"]["body"]["status"] == 404


def test_a_call_is_completed_later_by_whoever_was_called(
    sdk: Sdk, executor: WorkflowExecutor, name: Name
) -> None:
    call = HttpTask("call", {"uri": f"{sdk.api_url}/metadata/workflow", "method": "GET"})
    call.input_parameters["asyncComplete"] = True
    workflow_id = _start(executor, name("later"), call)

    open_task = sdk.wait_for_task(workflow_id, "call", "IN_PROGRESS")
    result = TaskResult(
        workflow_instance_id=workflow_id,
        task_id=open_task.task_id,
        status="COMPLETED",
        output_data={"response": {"body": "done"}},
    )
    sdk.tasks.update_task(result)
    run = sdk.wait_for(workflow_id)

    assert (run.status, run.output["body"]) == ("COMPLETED", "done")
    assert len(run.tasks) == 1
