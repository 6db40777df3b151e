"""The SDK's documented unit test of a workflow: `WorkflowTestRequest` with a mock for each task.

Source: conductor-python, docs/testing and examples/workflow unit testing.
"""

from collections.abc import Callable
from typing import Any

import pytest
from conductor.client.http.models.workflow_test_request import WorkflowTestRequest
from conductor.client.http.rest import ApiException
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.executor.workflow_executor import WorkflowExecutor
from conductor.client.workflow.task.http_task import HttpTask
from conductor.client.workflow.task.simple_task import SimpleTask
from conductor.client.workflow.task.switch_task import SwitchTask

from tests.sdk.conftest import Sdk

Name = Callable[[str], str]


def built(sdk: Sdk, name: Name) -> ConductorWorkflow:
    """Build what the SDK's documents test: an HTTP call, a task, and a switch on its output."""
    executor = WorkflowExecutor(sdk.configuration)
    workflow = ConductorWorkflow(executor, name=name("unit_tested"), version=1)
    first, second, third = (
        SimpleTask(task_def_name="hello", task_reference_name=f"hello_ref_{number}")
        for number in (1, 2, 3)
    )
    decision = SwitchTask(task_ref_name="switch_ref", case_expression=first.output("city"))
    decision.switch_case("NYC", second)
    decision.default_case(third)
    http = HttpTask(task_ref_name="http", http_input={"uri": "http://nowhere.invalid/api"})
    return workflow >> http >> first >> decision


def mocks() -> dict[str, list[dict[str, Any]]]:
    return {
        "http": [{"status": "COMPLETED", "output": {"key": "http.output"}}],
        "hello_ref_1": [
            {"status": "FAILED", "output": {"key": "failed"}},
            {"status": "COMPLETED", "output": {"city": "NYC"}},
        ],
        "hello_ref_2": [{"status": "COMPLETED", "output": {"key": "task2.output"}}],
    }


def test_the_documented_unit_test_of_a_workflow_passes(sdk: Sdk, name: Name) -> None:
    workflow = built(sdk, name)
    request = WorkflowTestRequest(
        name=workflow.name,
        version=workflow.version,
        task_ref_to_mock_output=mocks(),
        workflow_def=workflow.to_workflow_def(),
    )

    run = sdk.workflows.test_workflow(request)

    assert run.status == "COMPLETED"
    assert [(task.reference_task_name, task.status) for task in run.tasks] == [
        ("http", "COMPLETED"),
        ("hello_ref_1", "FAILED"),
        ("hello_ref_1", "COMPLETED"),
        ("switch_ref", "COMPLETED"),
        ("hello_ref_2", "COMPLETED"),
    ]
    assert run.tasks[0].task_type == "HTTP"
    assert run.output == {"key": "task2.output"}


def test_a_registered_workflow_is_tested_by_its_name(sdk: Sdk, name: Name) -> None:
    workflow = built(sdk, name)
    workflow.register(overwrite=True)

    run = sdk.workflows.test_workflow(
        WorkflowTestRequest(name=workflow.name, task_ref_to_mock_output=mocks())
    )

    found = sdk.workflows.search(query=f"workflowType = '{workflow.name}'")
    assert run.status == "COMPLETED"
    assert run.workflow_definition.name == workflow.name
    assert not found.results, "nothing is kept"


def test_the_sdk_is_told_which_task_has_no_mock(sdk: Sdk, name: Name) -> None:
    workflow = built(sdk, name)
    given = mocks()
    del given["hello_ref_2"]

    with pytest.raises(ApiException, match=r"task 'hello_ref_2' of type 'hello' has no mock"):
        sdk.workflows.test_workflow(
            WorkflowTestRequest(
                name=workflow.name,
                task_ref_to_mock_output=given,
                workflow_def=workflow.to_workflow_def(),
            )
        )
