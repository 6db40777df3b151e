"""What cannot be done is the SDK's ApiException, with Conductor's status and a message of use."""

from collections.abc import Callable
from typing import Any

import pytest
from conductor.client.http.models.rerun_workflow_request import RerunWorkflowRequest
from conductor.client.http.models.skip_task_request import SkipTaskRequest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.task_def import TaskDef
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.workflow_def import WorkflowDef
from conductor.client.http.rest import ApiException
from conductor.client.workflow.executor.workflow_executor import WorkflowExecutor

from tests.sdk.conftest import Sdk

Act = Callable[[Sdk, str], Any]
NOBODY = "01a1f82b-0000-7000-8000-000000000000"


def _start(**more: Any) -> StartWorkflowRequest:
    return StartWorkflowRequest(name="unheard_of", version=1, **more)


def _result(run_id: str) -> TaskResult:
    return TaskResult(task_id="no-such-task", workflow_instance_id=run_id, status="COMPLETED")


def _rerun(task_id: str | None = None) -> RerunWorkflowRequest:
    return RerunWorkflowRequest(re_run_from_task_id=task_id)


def _is_refused(sdk: Sdk, act: Act, run_id: str, status: int, word: str) -> None:
    with pytest.raises(ApiException) as refused:
        act(sdk, run_id)

    assert refused.value.status == status, refused.value
    assert word in refused.value.message
    assert refused.value.is_not_found() == (status == 404)


@pytest.mark.parametrize(
    "act",
    [
        lambda sdk, run: sdk.workflows.get_workflow(run),
        lambda sdk, run: sdk.workflows.get_workflow_status(run),
        lambda sdk, run: sdk.workflows.pause_workflow(run),
        lambda sdk, run: sdk.workflows.resume_workflow(run),
        lambda sdk, run: sdk.workflows.terminate_workflow(run),
        lambda sdk, run: sdk.workflows.restart_workflow(run),
        lambda sdk, run: sdk.workflows.retry_workflow(run),
        lambda sdk, run: sdk.workflows.rerun_workflow(run, _rerun()),
        lambda sdk, run: sdk.workflows.skip_task_from_workflow(run, "t1", SkipTaskRequest()),
        lambda sdk, run: sdk.workflows.delete_workflow(run),
        lambda sdk, run: sdk.workflows.workflowResourceApi.decide(run),
        lambda sdk, run: sdk.workflows.workflowResourceApi.reset_workflow(run),
        lambda sdk, run: sdk.tasks.update_task(_result(run)),
        lambda sdk, run: sdk.tasks.taskResourceApi.update_task_v2(body=_result(run)),
        lambda sdk, run: sdk.tasks.update_task_sync(run, "t0", "COMPLETED", {}),
        lambda sdk, run: WorkflowExecutor(sdk.configuration).signal(run, "COMPLETED", {}),
        lambda sdk, run: WorkflowExecutor(sdk.configuration).signal_async(run, "COMPLETED", {}),
    ],
)
def test_an_unknown_run_is_not_found(sdk: Sdk, act: Act) -> None:
    _is_refused(sdk, act, NOBODY, 404, NOBODY)


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda sdk, _: sdk.workflows.start_workflow(_start()), "unheard_of"),
        (lambda sdk, _: sdk.workflows.start_workflow_by_name("unheard_of", {}), "unheard_of"),
        (lambda sdk, _: sdk.workflows.execute_workflow(_start(), "r"), "unheard_of"),
        (
            lambda sdk, _: sdk.workflows.execute_workflow_with_return_strategy(_start()),
            "unheard_of",
        ),
        (lambda sdk, _: sdk.metadata.get_workflow_def("unheard_of"), "unheard_of"),
        (lambda sdk, _: sdk.metadata.unregister_workflow_def("unheard_of", 1), "unheard_of"),
        (lambda sdk, _: sdk.metadata.get_task_def("unheard_of"), "unheard_of"),
        (lambda sdk, _: sdk.metadata.unregister_task_def("unheard_of"), "unheard_of"),
        (lambda sdk, _: sdk.metadata.update_task_def(TaskDef(name="unheard_of")), "unheard_of"),
        (lambda sdk, _: sdk.tasks.get_task("no-such-task"), "no-such-task"),
    ],
)
def test_what_has_no_such_name_is_not_found(sdk: Sdk, act: Act, word: str) -> None:
    _is_refused(sdk, act, NOBODY, 404, word)


@pytest.mark.parametrize(
    "act",
    [
        lambda sdk, run: sdk.workflows.resume_workflow(run),
        lambda sdk, run: sdk.workflows.restart_workflow(run),
        lambda sdk, run: sdk.workflows.rerun_workflow(run, _rerun()),
        lambda sdk, run: sdk.workflows.skip_task_from_workflow(run, "t0", SkipTaskRequest()),
    ],
)
def test_what_a_running_run_does_not_allow_is_a_conflict(
    sdk: Sdk, chain: str, kind: str, act: Act
) -> None:
    run_id = sdk.start(chain)
    sdk.tasks.poll_task(kind)

    _is_refused(sdk, act, run_id, 409, "")
    assert sdk.workflows.get_workflow(run_id).status == "RUNNING"


@pytest.mark.parametrize(
    "act",
    [
        lambda sdk, run: sdk.workflows.pause_workflow(run),
        lambda sdk, run: sdk.workflows.resume_workflow(run),
        lambda sdk, run: sdk.workflows.terminate_workflow(run),
        lambda sdk, run: sdk.workflows.retry_workflow(run),
        lambda sdk, run: sdk.workflows.skip_task_from_workflow(run, "t1", SkipTaskRequest()),
    ],
)
def test_what_a_completed_run_does_not_allow_is_a_conflict(
    sdk: Sdk, chain: str, kind: str, act: Act
) -> None:
    run_id = sdk.start(chain)
    for _ in range(2):
        sdk.report(sdk.tasks.poll_task(kind))

    _is_refused(sdk, act, run_id, 409, run_id)
    assert sdk.workflows.get_workflow(run_id).status == "COMPLETED"


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda sdk, run: sdk.workflows.delete_workflow(run), "archiveWorkflow"),
        (lambda sdk, run: sdk.workflows.rerun_workflow(run, _rerun("x")), "x"),
        (
            lambda sdk, run: sdk.workflows.skip_task_from_workflow(run, "t9", SkipTaskRequest()),
            "t9",
        ),
        (lambda sdk, run: sdk.tasks.update_task_by_ref_name(run, "t0", "DONE", {}), "DONE"),
        (lambda sdk, run: sdk.tasks.update_task_sync(run, "t0", "DONE", {}), "DONE"),
        (
            lambda sdk, run: WorkflowExecutor(sdk.configuration).signal(run, "DONE", {}),
            "DONE",
        ),
        (lambda sdk, _: sdk.workflows.start_workflow(_start(priority=100)), "priority"),
        (
            lambda sdk, _: sdk.workflows.execute_workflow_with_return_strategy(
                _start(), return_strategy="ALL"
            ),
            "returnStrategy",
        ),
    ],
)
def test_what_cannot_be_meant_is_a_bad_request(sdk: Sdk, chain: str, act: Act, word: str) -> None:
    run_id = sdk.start(chain)
    before = sdk.workflows.get_workflow(run_id)

    _is_refused(sdk, act, run_id, 400, word)
    assert sdk.workflows.get_workflow(run_id) == before


@pytest.mark.parametrize(
    "act",
    [
        lambda sdk, _: sdk.metadata.register_task_def(TaskDef(name="", retry_count=-1)),
        lambda sdk, _: sdk.metadata.register_workflow_def(WorkflowDef(name="x", tasks=[])),
        lambda sdk, _: sdk.metadata.update_workflow_def(WorkflowDef(name="x", tasks=[])),
    ],
)
def test_a_faulty_definition_is_a_bad_request(sdk: Sdk, act: Act) -> None:
    _is_refused(sdk, act, NOBODY, 400, "")
    assert "x" not in {found.name for found in sdk.metadata.get_all_workflow_defs()}
    assert not {"", "x"} & {found.name for found in sdk.metadata.get_all_task_defs()}
