"""OrkesWorkflowClient and OrkesTaskClient: each operation that the server answers."""

from collections.abc import Callable

import pytest
from conductor.client.http.api.task_resource_api import TaskResourceApi
from conductor.client.http.api_client import ApiClient
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.task import Task
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.workflow_def import WorkflowDef
from conductor.client.http.models.workflow_task import WorkflowTask
from conductor.client.http.rest import ApiException

from tests.sdk.conftest import Sdk

Name = Callable[[str], str]


@pytest.fixture
def kind(sdk: Sdk, name: Name) -> str:
    sdk.define_task(name("step"))
    return name("step")


@pytest.fixture
def chain(sdk: Sdk, name: Name, kind: str) -> str:
    sdk.define_chain(name("chain"), [kind, kind], output_parameters={"end": "${t1.output.number}"})
    return name("chain")


def _result(task: Task) -> TaskResult:
    return TaskResult(
        task_id=task.task_id, workflow_instance_id=task.workflow_instance_id, worker_id="hand"
    )


def _finish(sdk: Sdk, task: Task, number: int, status: str = "COMPLETED") -> str:
    result = _result(task)
    result.status = status
    result.output_data = {"number": number}
    return sdk.tasks.update_task(result)


def test_a_start_by_request_carries_all_its_fields(sdk: Sdk, chain: str) -> None:
    request = StartWorkflowRequest(
        name=chain,
        version=1,
        input={"given": {"deep": [1, None, 2.5, "ä"]}},
        correlation_id="order-1",
        priority=7,
        created_by="somebody",
        idempotency_key="unused",
    )

    run_id = sdk.workflows.start_workflow(request)
    run = sdk.workflows.get_workflow(run_id)

    assert (run.workflow_id, run.status) == (run_id, "RUNNING")
    assert (run.workflow_name, run.workflow_version) == (chain, 1)
    assert (run.correlation_id, run.priority) == ("order-1", 7)
    assert run.input == {"given": {"deep": [1, None, 2.5, "ä"]}}
    assert run.tasks[0].input_data == {"number": 0, "given": {"deep": [1, None, 2.5, "ä"]}}


def test_a_start_by_name_takes_version_correlation_and_priority(sdk: Sdk, chain: str) -> None:
    run_id = sdk.workflows.start_workflow_by_name(
        chain, {"given": 1}, version=1, correlationId="order-2", priority=3
    )
    run = sdk.workflows.get_workflow(run_id)

    assert (run.correlation_id, run.priority, run.input) == ("order-2", 3, {"given": 1})


def test_a_start_with_a_definition_of_its_own_needs_no_registration(
    sdk: Sdk, name: Name, kind: str
) -> None:
    step = WorkflowTask(name=kind, task_reference_name="only", type="SIMPLE")
    inline = WorkflowDef(name=name("inline"), version=1, tasks=[step], schema_version=2)

    run_id = sdk.workflows.start_workflow(
        StartWorkflowRequest(name=name("inline"), workflow_def=inline)
    )

    assert sdk.workflows.get_workflow(run_id).tasks[0].reference_task_name == "only"
    with pytest.raises(ApiException) as refused:
        sdk.metadata.get_workflow_def(name("inline"))
    assert refused.value.status == 404


def test_the_status_brings_output_and_variables_when_asked(sdk: Sdk, chain: str, kind: str) -> None:
    run_id = sdk.start(chain)
    for number in (0, 1):
        _finish(sdk, sdk.tasks.poll_task(kind, worker_id="hand"), number)

    short = sdk.workflows.get_workflow_status(run_id)
    full = sdk.workflows.get_workflow_status(run_id, include_output=True, include_variables=True)

    assert (short.status, short.output) == ("COMPLETED", None)
    assert (full.workflow_id, full.status) == (run_id, "COMPLETED")
    assert (full.output, full.variables) == ({"end": 1}, {})


def test_a_run_is_shown_with_and_without_its_tasks(sdk: Sdk, chain: str) -> None:
    run_id = sdk.start(chain)

    with_tasks = sdk.workflows.get_workflow(run_id, include_tasks=True)
    # The client leaves the parameter out when it is False, and absent means with tasks.
    api = sdk.workflows.workflowResourceApi
    without = api.get_execution_status(run_id, include_tasks=False)

    assert [task.reference_task_name for task in with_tasks.tasks] == ["t0"]
    assert not without.tasks
    assert without.status == "RUNNING"


def test_a_paused_run_schedules_nothing_until_it_is_resumed(
    sdk: Sdk, chain: str, kind: str
) -> None:
    run_id = sdk.start(chain)

    sdk.workflows.pause_workflow(run_id)
    _finish(sdk, sdk.tasks.poll_task(kind), 0)
    paused = sdk.workflows.get_workflow(run_id)
    sdk.workflows.resume_workflow(run_id)
    resumed = sdk.workflows.get_workflow(run_id)

    assert (paused.status, len(paused.tasks)) == ("PAUSED", 1)
    assert (resumed.status, len(resumed.tasks)) == ("RUNNING", 2)


def test_a_terminated_run_says_why_and_takes_no_reports(sdk: Sdk, chain: str, kind: str) -> None:
    run_id = sdk.start(chain)
    task = sdk.tasks.poll_task(kind)

    sdk.workflows.terminate_workflow(run_id, reason="changed our mind")
    _finish(sdk, task, 0)
    run = sdk.workflows.get_workflow(run_id)

    assert (run.status, run.reason_for_incompletion) == ("TERMINATED", "changed our mind")
    assert [task.status for task in run.tasks] == ["CANCELED"]


def test_a_failed_run_goes_on_after_a_retry(sdk: Sdk, chain: str, kind: str) -> None:
    run_id = sdk.start(chain)
    _finish(sdk, sdk.tasks.poll_task(kind), 0, "FAILED_WITH_TERMINAL_ERROR")
    failed = sdk.workflows.get_workflow(run_id)

    sdk.workflows.retry_workflow(run_id)
    for number in (0, 1):
        _finish(sdk, sdk.tasks.poll_task(kind), number)
    run = sdk.workflows.get_workflow(run_id)

    assert failed.status == "FAILED"
    assert run.status == "COMPLETED"
    assert [task.retry_count for task in run.tasks] == [0, 1, 0]


def test_a_task_is_polled_shown_and_reported_by_id(sdk: Sdk, chain: str, kind: str) -> None:
    run_id = sdk.start(chain, "x")

    [task] = sdk.tasks.batch_poll_tasks(
        kind, worker_id="hand", count=5, timeout_in_millisecond=1000
    )
    shown = sdk.tasks.get_task(task.task_id)
    answer = _finish(sdk, task, 0)

    assert task.workflow_instance_id == run_id
    assert (task.task_def_name, task.task_type, task.status) == (kind, kind, "IN_PROGRESS")
    assert task.response_timeout_seconds == 60
    assert (shown.task_id, shown.worker_id, shown.poll_count) == (task.task_id, "hand", 1)
    assert shown.input_data == {"number": 0, "given": "x"}
    assert answer == task.task_id


def test_an_empty_queue_gives_nothing(sdk: Sdk, name: Name) -> None:
    assert sdk.tasks.batch_poll_tasks(name("nobody"), count=3, timeout_in_millisecond=50) == []
    assert not sdk.tasks.poll_task(name("nobody")).task_id


def test_update_v2_gives_the_next_task_of_the_same_queue(sdk: Sdk, chain: str, kind: str) -> None:
    api = TaskResourceApi(ApiClient(sdk.configuration))
    sdk.start(chain)
    first = sdk.tasks.poll_task(kind, worker_id="hand")
    result = _result(first)
    result.status = "COMPLETED"

    second = api.update_task_v2(body=result)
    last = _result(second)
    last.status = "COMPLETED"
    nothing = api.update_task_v2(body=last)

    assert (second.reference_task_name, second.status) == ("t1", "IN_PROGRESS")
    assert second.worker_id == "hand"
    assert nothing is None


def test_a_task_is_reported_by_its_reference_name(sdk: Sdk, chain: str) -> None:
    run_id = sdk.start(chain)

    task_id = sdk.tasks.update_task_by_ref_name(run_id, "t0", "COMPLETED", {"by": "name"})
    run = sdk.workflows.get_workflow(run_id)

    assert task_id == run.tasks[0].task_id
    assert run.tasks[0].status == "COMPLETED"
    assert run.tasks[0].output_data == {"result": {"by": "name"}}
    assert run.tasks[1].reference_task_name == "t1"


def test_log_lines_keep_what_the_client_sends(sdk: Sdk, chain: str, kind: str) -> None:
    sdk.start(chain)
    task = sdk.tasks.poll_task(kind)
    before = sdk.tasks.get_task_logs(task.task_id)

    sdk.tasks.add_task_log(task.task_id, "plain words")
    sdk.tasks.add_task_log(task.task_id, 'with "quotes" inside')
    lines = sdk.tasks.get_task_logs(task.task_id)

    # The client sends the inside of a JSON string, and the server keeps the bytes it got.
    assert not before
    assert [line.log for line in lines] == ["plain words", 'with \\"quotes\\" inside']


def test_queue_sizes_and_poll_data_follow_the_work(sdk: Sdk, chain: str, kind: str) -> None:
    for _ in range(3):
        sdk.start(chain)
    waiting = sdk.tasks.get_queue_size_for_task(kind)
    sdk.tasks.poll_task(kind, worker_id="hand")

    [polled] = sdk.tasks.get_task_poll_data(kind)

    assert waiting == 3
    assert sdk.tasks.get_queue_size_for_task(kind) == 2
    assert (polled.queue_name, polled.worker_id, polled.domain) == (kind, "hand", None)
    assert polled.last_poll_time > 1_600_000_000_000


def test_an_error_carries_our_message_and_status(sdk: Sdk, name: Name, chain: str) -> None:
    run_id = sdk.start(chain)

    with pytest.raises(ApiException) as unknown_run:
        sdk.workflows.get_workflow("01a1f82b-0000-7000-8000-000000000000")
    with pytest.raises(ApiException) as unknown_name:
        sdk.start(name("unheard_of"))
    with pytest.raises(ApiException) as unknown_task:
        sdk.tasks.get_task("no-such-task")
    with pytest.raises(ApiException) as not_paused:
        sdk.workflows.resume_workflow(run_id)
    with pytest.raises(ApiException) as bad_status:
        sdk.tasks.update_task_by_ref_name(run_id, "t0", "DONE", {})

    assert unknown_run.value.is_not_found()
    assert "01a1f82b-0000-7000-8000-000000000000" in unknown_run.value.message
    assert unknown_name.value.status == 404
    assert name("unheard_of") in unknown_name.value.message
    assert unknown_task.value.status == 404
    assert "no-such-task" in unknown_task.value.message
    assert not_paused.value.status == 409
    assert run_id in not_paused.value.message
    assert bad_status.value.status == 400
    assert "DONE" in bad_status.value.message


def test_what_only_the_commercial_server_answers_is_not_found(sdk: Sdk, chain: str) -> None:
    run_id = sdk.start(chain)

    with pytest.raises(ApiException) as variables:
        sdk.workflows.update_variables(run_id, {"a": 1})
    with pytest.raises(ApiException) as tags:
        sdk.metadata.get_workflow_tags(chain)

    # The tags' path is one that only DELETE knows: as with Conductor's own server, 405.
    assert (variables.value.status, tags.value.status) == (404, 405)
