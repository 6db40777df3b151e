"""What decisions do at their edges: interrupted ones, lacking ones, refused ones."""

import json
from typing import Any

import pytest

from batuta.core import ending
from batuta.core.commands.update import LOG_LINES_MAX, REASON_CHARACTERS_MAX
from batuta.core.condition import Refused, evaluate
from batuta.core.decide import decide
from batuta.core.definition.normalize import read_workflow_def
from batuta.core.draft import Draft
from batuta.core.execution import Execution
from batuta.core.graph import Graph, Snapshot
from batuta.core.identity import uuid7
from batuta.core.settle import SETTLE_STEPS_MAX
from batuta.core.tasks.variable import VARIABLES_BYTES_MAX
from batuta.model.change import (
    AddLog,
    DropSend,
    NeedPayload,
    Needs,
    NeedScript,
    PutTask,
    PutWorkflow,
    SetTimer,
)
from batuta.model.command import (
    ChildEnded,
    ExpireLease,
    FireTimer,
    LogTask,
    PauseWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    ReviveParent,
    StartWorkflow,
    TerminateWorkflow,
    TimerKind,
    UpdateReference,
    UpdateTask,
)
from batuta.model.error import ConflictError, NotFoundError
from batuta.model.execution import TaskStatus, Workflow, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from tests.scenario.driver import START_MS, Run, World, expand

SEED = bytes(range(16))
WORKFLOW_ID = uuid7(START_MS, 1, 1)
SIMPLE = {"ref": "a"}
LOOP_PASSES = 3 * SETTLE_STEPS_MAX
LONG_LOOP = {
    "ref": "l",
    "type": "DO_WHILE",
    "loopCondition": f"$.l.iteration < {LOOP_PASSES}",
    "loopOver": [{"ref": "v", "type": "SET_VARIABLE", "in": {"n": "${l.iteration}"}}],
}


def started(*tasks: dict[str, Any], given: Payload = EMPTY, **fields: Any) -> tuple[World, Run]:
    world = World()
    world.define({"tasks": list(tasks), **fields})
    start = StartWorkflow(workflow_id=WORKFLOW_ID, name="main", definition="main@1", input=given)
    world.submit(start)
    return world, world.runs[WORKFLOW_ID]


def report(run: Run, reference: str, **fields: Any) -> UpdateTask:
    task = run.execution.latest_task(reference)
    assert task is not None, f"{reference} has been made"
    return UpdateTask(
        workflow_id=WORKFLOW_ID,
        task_id=task.task_id,
        **{"status": TaskStatus.COMPLETED, **fields},
    )


def test_a_loop_of_thousands_of_passes_settles_over_several_transactions() -> None:
    world, run = started(LONG_LOOP, outputParameters={"n": "${workflow.variables.n}"})

    world.advance(world.now_ms)

    assert run.execution.output == Payload(b'{"n":%d}' % LOOP_PASSES)
    made = [json.loads(document).get("t", {}) for _, _, document in run.entries]
    assert len(made) > 3, "no transaction took all of it"
    assert max(map(len, made)) <= SETTLE_STEPS_MAX + 2


@pytest.mark.parametrize(
    "command",
    [
        FireTimer(workflow_id=WORKFLOW_ID, task_id="none", kind=TimerKind.WAIT, due_at_ms=0),
        PauseWorkflow(WORKFLOW_ID),
    ],
)
def test_an_interrupted_decision_never_ends_the_run_early(command: Any) -> None:
    world, run = started(LONG_LOOP)
    assert run.execution.unexecuted, "the first decision stopped in between"

    world.submit(command)

    assert not run.execution.workflow.status.is_terminal
    if run.execution.workflow.status is WorkflowStatus.PAUSED:
        world.advance(world.now_ms)
        world.submit(ResumeWorkflow(WORKFLOW_ID))
    world.advance(world.now_ms)
    assert run.execution.workflow.status is WorkflowStatus.COMPLETED
    assert run.execution.variables == Payload(b'{"n":%d}' % LOOP_PASSES)


def test_a_branch_that_ends_meanwhile_does_not_overtake_an_interrupted_loop() -> None:
    fork = {"ref": "f", "type": "FORK_JOIN", "forkTasks": [[SIMPLE], [LONG_LOOP]]}
    world, run = started(fork, {"ref": "j", "type": "JOIN", "joinOn": ["a", "l"]})

    world.submit(report(run, "a"))
    world.advance(world.now_ms)

    assert run.execution.workflow.status is WorkflowStatus.COMPLETED
    assert run.execution.latest_task("l").iteration == LOOP_PASSES


def test_a_second_continue_and_one_of_an_ended_run_change_only_the_timer() -> None:
    world, run = started(SIMPLE)
    fire = FireTimer(
        workflow_id=WORKFLOW_ID, task_id="", kind=TimerKind.CONTINUE, due_at_ms=START_MS
    )

    world.submit(fire)
    world.submit(TerminateWorkflow(workflow_id=WORKFLOW_ID))
    world.submit(fire)

    assert run.execution.workflow.status is WorkflowStatus.TERMINATED
    assert run.timers == {}


def test_a_payload_that_is_not_loaded_is_asked_for() -> None:
    world, run = started(SIMPLE, {"ref": "b", "in": {"v": "${a.output.v}"}})
    world.submit(report(run, "a", status=TaskStatus.IN_PROGRESS, output=Payload(b'{"v":1}')))
    run.execution.outputs[1] = Payload(None, size_bytes=7)

    command = UpdateReference(
        workflow_id=WORKFLOW_ID,
        reference_name="a",
        status=TaskStatus.COMPLETED,
        output=Payload(b'{"w":2}'),
    )
    changes = decide(run.execution, command, now_ms=START_MS, seed=SEED, answers={})

    assert changes == Needs((NeedPayload(1, "output"),))


def test_a_script_of_other_forms_is_asked_for_and_its_answer_used() -> None:
    execution = Execution(Workflow(workflow_id="w", name="n", definition="d"), graph(SIMPLE))
    need = NeedScript("for (;;) { break; } 7", b'{"x":1}')

    lacking = Draft(execution, now_ms=0, seed=SEED, answers={}, environment={})
    evaluate(lacking, need.source, {"x": 1})
    knowing = Draft(execution, now_ms=0, seed=SEED, answers={need: Payload(b"7")}, environment={})
    found = evaluate(knowing, need.source, {"x": 1})

    assert lacking.result() == Needs((need,))
    assert found == 7


def test_a_script_that_leaves_the_simple_forms_on_the_way_is_asked_for() -> None:
    execution = Execution(Workflow(workflow_id="w", name="n", definition="d"), graph(SIMPLE))
    draft = Draft(execution, now_ms=0, seed=SEED, answers={}, environment={})

    evaluate(draft, "$.a + ''", {"a": {"valueOf": 1}})

    assert isinstance(draft.result(), Needs)


def test_an_empty_script_is_refused_with_what_to_do() -> None:
    execution = Execution(Workflow(workflow_id="w", name="n", definition="d"), graph(SIMPLE))
    draft = Draft(execution, now_ms=0, seed=SEED, answers={}, environment={})

    refused = evaluate(draft, "", {})

    assert isinstance(refused, Refused)
    assert "give one" in refused.message


def graph(*tasks: dict[str, Any]) -> Graph:
    return Graph(Snapshot(workflow=read_workflow_def(expand({"tasks": list(tasks)}))), "d")


def test_an_environment_name_resolves_only_when_it_is_allowed() -> None:
    node = {"ref": "a", "in": {"v": "${workflow.env.REGION}"}}
    execution = Execution(Workflow(workflow_id="w", name="main", definition="d"), graph(node))
    start = StartWorkflow(workflow_id="w", name="main", definition="d", input=EMPTY)

    changes = decide(
        execution,
        start,
        now_ms=START_MS,
        seed=SEED,
        answers={},
        environment={"CONDUCTOR_ENV_REGION": "eu"},
    )
    without = decide(execution, start, now_ms=START_MS, seed=SEED, answers={})

    assert [c.input for c in changes if isinstance(c, PutTask)] == [Payload(b'{"v":"eu"}')]
    assert [c.input for c in without if isinstance(c, PutTask)] == [Payload(b'{"v":null}')]


def test_a_second_start_of_the_same_run_changes_nothing() -> None:
    world, run = started(SIMPLE)

    changes = world.submit(
        StartWorkflow(workflow_id=WORKFLOW_ID, name="main", definition="main@1", input=EMPTY)
    )

    assert changes == []
    assert run.execution.workflow.version == 1


def test_a_definition_without_tasks_is_complete_at_once() -> None:
    _, run = started()

    workflow = run.execution.workflow
    assert workflow.status is WorkflowStatus.COMPLETED
    assert workflow.reason == "No tasks found to be executed"
    with pytest.raises(ConflictError, match="has no tasks to retry"):
        decide(
            run.execution,
            RetryWorkflow(workflow_id=WORKFLOW_ID),
            now_ms=START_MS,
            seed=SEED,
            answers={},
        )


@pytest.mark.parametrize("kind", [UpdateTask, LogTask])
def test_a_task_that_the_run_does_not_have_is_not_found(kind: type) -> None:
    world, _ = started(SIMPLE)
    fields = {"status": TaskStatus.COMPLETED} if kind is UpdateTask else {"line": "x"}

    with pytest.raises(NotFoundError, match="has no task 'gone'"):
        world.submit(kind(workflow_id=WORKFLOW_ID, task_id="gone", **fields))


def test_logs_are_kept_up_to_a_number_for_each_update() -> None:
    world, run = started(SIMPLE)
    lines = tuple(f"line {number}" for number in range(LOG_LINES_MAX + 5))

    changes = world.submit(report(run, "a", status=TaskStatus.IN_PROGRESS, logs=lines))
    task_id = run.execution.latest_task("a").task_id
    later = world.submit(LogTask(workflow_id=WORKFLOW_ID, task_id=task_id, line="one more"))

    assert [c.line for c in changes if isinstance(c, AddLog)] == list(lines[:LOG_LINES_MAX])
    assert [c.line for c in later if isinstance(c, AddLog)] == ["one more"]


def test_a_report_keeps_its_worker_and_a_reason_of_limited_length() -> None:
    world, run = started({"ref": "a", "retryCount": 0})

    world.submit(report(run, "a", status=TaskStatus.FAILED, reason="x" * 900, worker_id="w7"))

    task = run.execution.latest_task("a")
    assert task.worker_id == "w7"
    assert task.reason == "x" * REASON_CHARACTERS_MAX


def test_a_lease_that_has_not_run_out_or_is_another_one_is_left_alone() -> None:
    world, run = started(SIMPLE)
    task = world.poll("a")

    early = world.submit(ExpireLease(workflow_id=WORKFLOW_ID, task_id=task.task_id, poll_count=1))
    other = world.submit(ExpireLease(workflow_id=WORKFLOW_ID, task_id=task.task_id, poll_count=9))
    gone = world.submit(ExpireLease(workflow_id=WORKFLOW_ID, task_id="gone", poll_count=1))

    assert (early, other, gone) == ([], [], [])
    assert task.task_id in run.execution.leases


@pytest.mark.parametrize("kind", list(TimerKind))
def test_a_timer_that_an_open_task_does_not_have_changes_nothing(kind: TimerKind) -> None:
    world, run = started(SIMPLE)
    task_id = run.execution.latest_task("a").task_id

    changes = world.submit(
        FireTimer(workflow_id=WORKFLOW_ID, task_id=task_id, kind=kind, due_at_ms=START_MS)
    )

    assert not [c for c in changes if isinstance(c, PutTask | PutWorkflow | SetTimer)]


def test_a_limit_that_another_node_still_has_in_memory_waits_for_the_later_one() -> None:
    world = World()
    world.define_task({"name": "g", "timeoutSeconds": 5, "responseTimeoutSeconds": 5})
    graph = {"ref": "g", "type": "DAG", "dagTasks": [SIMPLE, {"ref": "b"}], "dagEdges": []}
    world.define({"tasks": [graph]})
    start = StartWorkflow(workflow_id=WORKFLOW_ID, name="main", definition="main@1", input=EMPTY)
    world.submit(start)
    run = world.runs[WORKFLOW_ID]
    task_id = run.execution.latest_task("g").task_id
    world.advance(START_MS + 3_000)
    world.submit(report(run, "a", status=TaskStatus.FAILED_WITH_TERMINAL_ERROR))
    world.advance(START_MS + 4_000)
    world.submit(RetryWorkflow(workflow_id=WORKFLOW_ID))
    stale = FireTimer(
        workflow_id=WORKFLOW_ID,
        task_id=task_id,
        kind=TimerKind.TASK_TIMEOUT,
        due_at_ms=START_MS + 5_000,
    )

    world.advance(START_MS + 8_999)
    assert world.submit(stale) == []
    assert run.execution.latest_task("g").status is TaskStatus.IN_PROGRESS

    world.advance(START_MS + 9_000)
    assert run.execution.latest_task("g").status is TaskStatus.TIMED_OUT


def test_variables_that_are_too_large_fail_the_task_and_stay_as_they_were() -> None:
    text = "x" * VARIABLES_BYTES_MAX
    node = {"ref": "v", "type": "SET_VARIABLE", "in": {"big": "${workflow.input.text}"}}

    _, run = started(node, given=Payload.of({"text": text}), variables={"small": 1})

    task = run.execution.latest_task("v")
    assert task.status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    assert "keep large values in task outputs" in task.reason
    assert run.execution.variables == Payload(b'{"small":1}')


DEEP = b'{"x":' + b"[" * 250 + b"]" * 250 + b"}"


@pytest.mark.parametrize(
    "node",
    [
        {"type": "SIMPLE"},
        {"type": "SWITCH", "evaluatorType": "value-param", "expression": "k"},
        {"type": "DECISION", "caseValueParam": "k"},
        {"type": "FORK_JOIN", "forkTasks": [[]]},
        {"type": "DO_WHILE", "loopCondition": "false", "loopOver": [{"ref": "b"}]},
        {"type": "SET_VARIABLE"},
        {"type": "TERMINATE"},
        {"type": "WAIT"},
        {"type": "JOIN"},
        {"type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "gone"}},
    ],
    ids=lambda node: node["type"],
)
def test_an_input_beyond_a_limit_fails_the_task_and_so_the_run(node: dict[str, Any]) -> None:
    text = {"k": "a text with ${workflow.input.x}"}

    _, run = started({"ref": "a", "in": text, **node}, given=Payload(DEEP))

    assert run.execution.workflow.status is WorkflowStatus.FAILED
    assert run.execution.latest_task("a").status.is_terminal
    assert "deep" in run.execution.latest_task("a").reason


def test_an_output_beyond_a_limit_says_so_in_its_place() -> None:
    output = {"v": "a text with ${workflow.input.x}"}
    world, run = started(SIMPLE, given=Payload(DEEP), outputParameters=output)

    world.submit(report(run, "a"))

    assert run.execution.workflow.status is WorkflowStatus.COMPLETED
    assert "deep" in run.execution.output.value["error"]


def test_a_failure_workflow_is_told_only_as_many_bytes_as_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "FAILED_WORKFLOW_BYTES_MAX", 100)
    world, run = started(SIMPLE, failureWorkflow="undo", given=Payload(b'{"x":1}'))
    world.define({"name": "undo", "tasks": [{"ref": "u"}]})

    large = Payload.of({"v": "x" * 100})
    fails = TaskStatus.FAILED_WITH_TERMINAL_ERROR
    world.submit(report(run, "a", output=large, status=fails))

    undo = next(one for one in world.runs.values() if one is not run)
    told = undo.execution.input.value["failedWorkflow"]
    assert (told["input"], told["output"], told["tasks"][0]["outputData"]) == ({"x": 1}, None, None)
    assert run.execution.output.value["v"] == "x" * 100


def test_items_beyond_a_limit_fail_the_loop() -> None:
    loop = {"ref": "l", "type": "DO_WHILE", "items": "a text with ${workflow.variables.x}"}
    node = {"ref": "v", "type": "SET_VARIABLE", "in": {"x": "${workflow.input.x}"}}

    _, run = started({**loop, "loopOver": [node]}, given=Payload(DEEP), variables={"x": 1})

    task = run.execution.latest_task("l")
    assert task.status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    assert "items" in task.reason


def test_a_case_beyond_a_limit_fails_the_switch() -> None:
    node = {"ref": "s", "type": "SWITCH", "evaluatorType": "value-param", "expression": "k"}
    case = {"in": {"k": "${workflow.input.x}"}, "decisionCases": {"x": [SIMPLE]}}

    _, run = started({**node, **case}, given=Payload(DEEP))

    assert run.execution.latest_task("s").status is TaskStatus.FAILED
    assert "deep" in run.execution.latest_task("s").reason


@pytest.mark.parametrize("body", [[], [{"ref": "b", "type": "SET_VARIABLE", "in": {"x": 1}}]])
def test_a_loop_without_a_body_or_without_a_worker_ends(body: list[dict[str, Any]]) -> None:
    loop = {"ref": "l", "type": "DO_WHILE", "loopCondition": "0", "loopOver": body}

    _, run = started(loop)

    assert run.execution.workflow.status is WorkflowStatus.COMPLETED
    assert run.execution.latest_task("l").iteration == len(body)


def test_a_late_revival_or_answer_for_another_child_changes_nothing() -> None:
    world, run = started(
        {"ref": "s", "type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "gone"}, "startDelay": 5}
    )
    task_id = run.execution.latest_task("s").task_id
    version = run.execution.workflow.version

    for task, child in ((task_id, "other"), ("gone", "other")):
        world.submit(ReviveParent(workflow_id=WORKFLOW_ID, task_id=task, child_id=child))
        world.submit(
            ChildEnded(
                workflow_id=WORKFLOW_ID,
                task_id=task,
                child_id=child,
                status=TaskStatus.COMPLETED,
                output=EMPTY,
            )
        )

    assert run.execution.workflow.version == version


def test_a_parent_terminates_only_its_own_running_child() -> None:
    world, run = started(SIMPLE)

    changes = world.submit(TerminateWorkflow(workflow_id=WORKFLOW_ID, task_id="of-another"))

    assert changes == []
    assert run.execution.workflow.status is WorkflowStatus.RUNNING


def test_a_change_noted_for_the_store_is_in_the_result() -> None:
    _, run = started(SIMPLE)
    draft = Draft(run.execution, now_ms=START_MS, seed=SEED, answers={}, environment={})

    draft.note(DropSend(7))

    assert draft.result() == [DropSend(7)]
