"""Workflows written in Python with the SDK's ConductorWorkflow, run by its WorkflowExecutor."""

from collections.abc import Callable
from typing import Any

import pytest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.workflow import Workflow
from conductor.client.worker.worker_task import worker_task
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.executor.workflow_executor import WorkflowExecutor
from conductor.client.workflow.task.do_while_task import DoWhileTask, LoopTask
from conductor.client.workflow.task.fork_task import ForkTask
from conductor.client.workflow.task.join_task import JoinTask
from conductor.client.workflow.task.set_variable_task import SetVariableTask
from conductor.client.workflow.task.simple_task import SimpleTask
from conductor.client.workflow.task.sub_workflow_task import SubWorkflowTask
from conductor.client.workflow.task.switch_task import SwitchTask
from conductor.client.workflow.task.terminate_task import TerminateTask, WorkflowStatus
from conductor.client.workflow.task.wait_task import WaitForDurationTask, WaitTask

from tests.sdk.conftest import Sdk
from tests.sdk.fleet import Fleet

Name = Callable[[str], str]


@pytest.fixture
def executor(sdk: Sdk) -> WorkflowExecutor:
    return WorkflowExecutor(sdk.configuration)


@pytest.fixture
def add(sdk: Sdk, name: Name) -> Callable[..., SimpleTask]:
    """Register a worker that adds two numbers; give tasks that use it."""
    kind = name("add")
    sdk.define_task(kind)

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def add(a: int, b: int) -> int:
        return a + b

    def task(reference: str, a: Any, b: Any) -> SimpleTask:
        made = SimpleTask(kind, reference)
        made.input_parameters.update({"a": a, "b": b})
        return made

    return task


Add = Callable[..., SimpleTask]


def _run(
    sdk: Sdk, executor: WorkflowExecutor, workflow: ConductorWorkflow, given: dict[str, Any]
) -> Workflow:
    workflow.register(overwrite=True)
    request = StartWorkflowRequest(name=workflow.name, version=workflow.version, input=given)
    with Fleet(sdk.api_url):
        return sdk.wait_for(executor.start_workflow(request))


def _statuses(run: Workflow) -> dict[str, str]:
    return {task.reference_task_name: task.status for task in run.tasks}


def test_tasks_follow_each_other(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("chain"), version=1)
    first = add("first", workflow.input("a"), 1)
    workflow >> first >> add("second", first.output("result"), 10)
    workflow.output_parameters({"sum": "${second.output.result}"})

    run = _run(sdk, executor, workflow, {"a": 5})

    assert (run.status, run.output) == ("COMPLETED", {"sum": 16})


@pytest.mark.parametrize(("size", "expected"), [("big", 1000), ("small", 1), ("odd", 0)])
def test_a_switch_takes_the_branch_of_its_value(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add, size: str, expected: int
) -> None:
    workflow = ConductorWorkflow(executor, name("switch"), version=1)
    switch = SwitchTask("size", workflow.input("size"))
    switch.switch_case("big", [add("big", 999, 1)])
    switch.switch_case("small", [add("small", 0, 1)])
    switch.default_case([add("neither", 0, 0)])
    workflow >> switch

    run = _run(sdk, executor, workflow, {"size": size})

    taken = [task.output_data["result"] for task in run.tasks if task.task_type != "SWITCH"]
    assert run.status == "COMPLETED"
    assert taken == [expected]


def test_a_switch_may_decide_by_a_script(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("script"), version=1)
    switch = SwitchTask("size", "$.n > 10 ? 'many' : 'few'", use_javascript=True)
    switch.input_parameters["n"] = workflow.input("n")
    switch.switch_case("many", [add("many", 1, 1)]).switch_case("few", [add("few", 0, 0)])
    workflow >> switch

    run = _run(sdk, executor, workflow, {"n": 11})

    assert _statuses(run) == {"size": "COMPLETED", "many": "COMPLETED"}


def test_branches_of_a_fork_are_joined(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("fork"), version=1)
    branches = [[add("l1", 1, 1), add("l2", "${l1.output.result}", 1)], [add("r1", 5, 5)]]
    workflow >> ForkTask("fork", branches) >> JoinTask("join", ["l2", "r1"])
    workflow >> add("after", "${join.output.l2.result}", "${join.output.r1.result}")
    workflow.output_parameters({"sum": "${after.output.result}"})

    run = _run(sdk, executor, workflow, {})

    assert (run.status, run.output) == ("COMPLETED", {"sum": 13})


def test_a_list_of_lists_becomes_a_fork_with_its_join(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("lists"), version=1)
    workflow >> [[add("a", 1, 2)], [add("b", 3, 4)]]
    workflow >> add("after", "${a.output.result}", "${b.output.result}")
    workflow.output_parameters({"sum": "${after.output.result}"})

    run = _run(sdk, executor, workflow, {})

    assert (run.status, run.output) == ("COMPLETED", {"sum": 10})
    assert [t.task_type for t in run.tasks if t.task_type in {"FORK", "JOIN"}] == ["FORK", "JOIN"]


def test_a_loop_of_a_number_of_rounds(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("loop"), version=1)
    workflow >> LoopTask("loop", 3, [add("round", "${loop.output.iteration}", 100)])
    workflow.output_parameters({"rounds": "${loop.output.iteration}"})

    run = _run(sdk, executor, workflow, {})

    assert (run.status, run.output) == ("COMPLETED", {"rounds": 3})
    assert [t.reference_task_name for t in run.tasks if t.task_type != "DO_WHILE"] == [
        "round__1",
        "round__2",
        "round__3",
    ]


def test_a_loop_until_a_result_is_reached(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("until"), version=1)
    keep = SetVariableTask("keep")
    keep.input_parameters.update({"sum": "${grow.output.result}"})
    body = [add("grow", "${workflow.variables.sum}", 7), keep]
    workflow.variables({"sum": 0})
    begin = SetVariableTask("begin")
    begin.input_parameters.update({"sum": 0})
    workflow >> begin >> DoWhileTask("loop", "$.grow['result'] < 20", body)
    workflow.output_parameters({"sum": "${workflow.variables.sum}"})

    run = _run(sdk, executor, workflow, {})

    assert (run.status, run.output) == ("COMPLETED", {"sum": 21})
    assert run.variables == {"sum": 21}


def test_a_sub_workflow_runs_as_a_run_of_its_own(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    child = ConductorWorkflow(executor, name("child"), version=1)
    child >> add("inner", child.input("n"), 1)
    child.output_parameters({"next": "${inner.output.result}"})
    child.register(overwrite=True)
    parent = ConductorWorkflow(executor, name("parent"), version=1)
    call = SubWorkflowTask("call", child.name, 1)
    call.input_parameters["n"] = parent.input("n")
    parent >> call
    parent.output_parameters({"next": "${call.output.next}"})

    run = _run(sdk, executor, parent, {"n": 41})

    assert (run.status, run.output) == ("COMPLETED", {"next": 42})
    inside = sdk.workflows.get_workflow(run.tasks[0].sub_workflow_id)
    assert (inside.status, inside.parent_workflow_id) == ("COMPLETED", run.workflow_id)


def test_a_workflow_within_a_workflow_needs_no_registration(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    child = ConductorWorkflow(executor, name("inline_child"), version=1)
    child >> add("inner", child.input("n"), 1)
    child.input_template({"n": 1})
    parent = ConductorWorkflow(executor, name("inline_parent"), version=1)
    parent >> child

    run = _run(sdk, executor, parent, {})

    inside = sdk.workflows.get_workflow(run.tasks[0].sub_workflow_id)
    assert run.status == "COMPLETED", run.reason_for_incompletion
    assert [task.task_type for task in run.tasks] == ["SUB_WORKFLOW"]
    assert inside.workflow_name == child.name
    assert inside.tasks[0].output_data == {"result": 2}


def test_a_definition_made_by_a_task_runs_as_a_sub_workflow(
    sdk: Sdk, executor: WorkflowExecutor, name: Name
) -> None:
    inner = {"name": "set", "taskReferenceName": "set", "type": "SET_VARIABLE"}
    inner["inputParameters"] = {"seen": "${workflow.input.n}"}
    made = {"name": name("made"), "version": 4, "schemaVersion": 2, "tasks": [inner]}
    parent = ConductorWorkflow(executor, name("maker"), version=1)
    call = SubWorkflowTask("call", name("made"))
    call.input_parameters["n"] = 7
    definition = parent.to_workflow_def()
    definition.tasks = [call.to_workflow_task()]
    definition.tasks[0].sub_workflow_param.workflow_definition = "${workflow.input.made}"
    executor.register_workflow(definition, overwrite=True)

    good = sdk.wait_for(sdk.workflows.start_workflow_by_name(parent.name, {"made": made}))
    bad = sdk.wait_for(sdk.workflows.start_workflow_by_name(parent.name, {"made": "text"}))
    made["tasks"] = []
    faulty = sdk.wait_for(sdk.workflows.start_workflow_by_name(parent.name, {"made": made}))

    inside = sdk.workflows.get_workflow(good.tasks[0].sub_workflow_id)
    assert good.status == "COMPLETED", good.reason_for_incompletion
    assert (inside.workflow_name, inside.workflow_version) == (name("made"), 4)
    assert inside.variables == {"seen": 7}
    assert bad.status == "FAILED"
    assert "which is no workflow definition" in bad.reason_for_incompletion
    assert faulty.status == "FAILED"
    assert "workflowDefinition is invalid" in faulty.reason_for_incompletion


def test_a_wait_is_ended_by_its_time_or_by_a_report(
    sdk: Sdk, executor: WorkflowExecutor, name: Name
) -> None:
    workflow = ConductorWorkflow(executor, name("wait"), version=1)
    workflow >> WaitForDurationTask("a_second", 1) >> WaitTask("signal")
    workflow.output_parameters({"said": "${signal.output.word}"})
    workflow.register(overwrite=True)

    run_id = executor.start_workflow(StartWorkflowRequest(name=workflow.name, version=1))
    open_wait = sdk.wait_for_task(run_id, "signal", "IN_PROGRESS")
    executor.update_task(open_wait.task_id, run_id, {"word": "go"}, "COMPLETED")
    run = sdk.wait_for(run_id)

    assert (run.status, run.output) == ("COMPLETED", {"said": "go"})
    assert run.tasks[0].end_time - run.tasks[0].start_time >= 1000


def test_terminate_ends_the_run_with_its_reason(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("terminate"), version=1)
    stop = TerminateTask("stop", WorkflowStatus.FAILED, "the gate is closed")
    workflow >> add("first", 1, 1) >> stop >> add("never", 1, 1)

    run = _run(sdk, executor, workflow, {})

    assert (run.status, run.reason_for_incompletion) == ("FAILED", "the gate is closed")
    assert "never" not in _statuses(run)


def test_a_failure_workflow_hears_of_the_failure(
    sdk: Sdk, executor: WorkflowExecutor, name: Name
) -> None:
    mourner = ConductorWorkflow(executor, name("mourner"), version=1)
    mourner >> WaitTask("grief")
    mourner.register(overwrite=True)
    workflow = ConductorWorkflow(executor, name("doomed"), version=1)
    workflow.failure_workflow(name("mourner"))
    workflow >> TerminateTask("stop", WorkflowStatus.FAILED, "no power")

    run = _run_without_workers(sdk, executor, workflow)

    heard = sdk.workflows.get_workflow(run.output["conductor.failure_workflow"])
    assert heard.workflow_name == name("mourner")
    assert heard.input["workflowId"] == run.workflow_id
    assert heard.input["reason"] == "no power"


def test_an_unregistered_workflow_starts_with_its_definition(
    sdk: Sdk, executor: WorkflowExecutor, name: Name, add: Add
) -> None:
    workflow = ConductorWorkflow(executor, name("one_off"), version=1)
    workflow >> add("only", workflow.input("n"), 2)
    workflow.output_parameters({"sum": "${only.output.result}"})

    with Fleet(sdk.api_url):
        run = sdk.wait_for(workflow.start_workflow_with_input({"n": 40}, correlation_id="c-1"))

    assert (run.status, run.output, run.correlation_id) == ("COMPLETED", {"sum": 42}, "c-1")


def test_the_executor_controls_a_run(executor: WorkflowExecutor, name: Name) -> None:
    workflow = ConductorWorkflow(executor, name("controlled"), version=1)
    workflow >> WaitTask("first") >> WaitTask("second")
    workflow.register(overwrite=True)
    requests = [StartWorkflowRequest(name=workflow.name, version=1) for _ in range(2)]

    one, two = executor.start_workflows(*requests)
    executor.pause(one)
    paused = executor.get_workflow_status(one, include_output=False, include_variables=False)
    executor.resume(one)
    executor.update_task_by_ref_name({"a": 1}, one, "first", "COMPLETED")
    executor.terminate(two, reason="enough")
    retried = executor.get_workflow(two, include_tasks=True)
    executor.retry(two)

    assert paused.status == "PAUSED"
    assert _statuses(executor.get_workflow(one, include_tasks=True))["second"] == "IN_PROGRESS"
    assert (retried.status, retried.reason_for_incompletion) == ("TERMINATED", "enough")
    assert executor.get_workflow(two, include_tasks=True).status == "RUNNING"


def _run_without_workers(
    sdk: Sdk, executor: WorkflowExecutor, workflow: ConductorWorkflow
) -> Workflow:
    workflow.register(overwrite=True)
    return sdk.wait_for(executor.start_workflow(StartWorkflowRequest(name=workflow.name)))
