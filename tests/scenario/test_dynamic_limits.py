"""The bounds of what a run may define itself, and that nothing depends on what a graph keeps."""

from typing import Any

import pytest

from batuta.core import graph
from batuta.core.identity import uuid7
from batuta.core.tasks.dynamic import fan_out
from batuta.core.tasks.dynamic.shape import SHAPE_BYTES_MAX
from batuta.model.command import StartWorkflow, UpdateTask
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from tests.scenario.driver import START_MS, Run, World


def start(*tasks: dict[str, Any], given: Any = None) -> tuple[World, Run]:
    world = World()
    world.define({"tasks": list(tasks)})
    workflow_id = uuid7(START_MS, 1, 0)
    world.submit(
        StartWorkflow(
            workflow_id=workflow_id,
            name="main",
            definition="main@1",
            input=Payload.of(given or {}),
        )
    )
    return world, world.runs[workflow_id]


def fork(**given: Any) -> list[dict[str, Any]]:
    joined = {"ref": "j", "type": "JOIN"}
    return [{"ref": "f", "type": "FORK_JOIN_DYNAMIC", "in": given}, joined]


def fork_of_tasks(*tasks: dict[str, Any]) -> list[dict[str, Any]]:
    params = {"dynamicForkTasksParam": "t", "dynamicForkTasksInputParamName": "i"}
    given = {"t": [{"name": "n", **task} for task in tasks], "i": {}}
    return [{"ref": "f", "type": "FORK_JOIN_DYNAMIC", "in": given, **params}, fork()[1]]


def test_a_fork_of_too_many_branches_fails_with_the_limit_in_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fan_out, "DYNAMIC_FORK_MAX", 2)

    _, run = start(*fork(forkTaskInputs=[1, 2, 3]))

    assert run.execution.workflow.status is WorkflowStatus.FAILED
    assert "3 branches, more than 2" in (run.execution.tasks[1].reason or "")


def test_a_task_whose_definition_is_too_large_to_be_carried_fails_the_fork() -> None:
    large = {"taskReferenceName": "a", "type": "SWITCH", "expression": "x" * SHAPE_BYTES_MAX}

    _, run = start(*fork_of_tasks(large))

    assert run.execution.workflow.status is WorkflowStatus.FAILED
    assert f"more than {SHAPE_BYTES_MAX}" in (run.execution.tasks[1].reason or "")


@pytest.mark.parametrize(
    "node",
    [
        {"type": "DYNAMIC", "dynamicTaskNameParam": "x"},
        {"type": "FORK_JOIN_DYNAMIC"},
        {"type": "EXCLUSIVE_JOIN", "joinOn": ["z"]},
        {"type": "JOIN", "joinOn": ["z"]},
        {"type": "DO_WHILE", "loopCondition": "true", "loopOver": [{"ref": "y"}]},
        {"type": "NOOP"},
        {"type": "HUMAN"},
        {"type": "INLINE"},
        {"type": "START_WORKFLOW"},
        {"type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "main"}},
    ],
    ids=lambda node: node["type"],
)
def test_an_input_that_exceeds_a_limit_fails_its_task(node: dict[str, Any]) -> None:
    deep: Any = "${workflow.input}"
    for _ in range(300):
        deep = [deep]
    z = {"ref": "z", "type": "NOOP"}

    world = World()
    world.define({"tasks": [z, {"ref": "n", **node}, {"ref": "j", "type": "JOIN"}]})
    definition = world.graphs["main"][1].nodes["n"]
    definition.input_template = graph.compile_template({"x": deep})
    definition.constant_input = None
    workflow_id = uuid7(START_MS, 1, 0)
    world.submit(
        StartWorkflow(
            workflow_id=workflow_id, name="main", definition="main@1", input=Payload(b"{}")
        )
    )

    task = world.runs[workflow_id].execution.latest_task("n")
    assert task.status in {TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR}
    assert world.runs[workflow_id].execution.workflow.status is WorkflowStatus.FAILED


def test_a_graph_may_forget_what_runs_have_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "FAMILIES_MAX", 2)
    world, run = start(*fork(forkTaskName="work", forkTaskInputs=[{"n": n} for n in range(10)]))

    for task in run.execution.live_tasks():
        if task.queue is not None:
            assert run.execution.graph.node_of(task).reference_name == task.reference_name
            assert len(run.execution.graph._families) <= 3
            world.submit(
                UpdateTask(
                    workflow_id=run.execution.workflow.workflow_id,
                    task_id=task.task_id,
                    status=TaskStatus.COMPLETED,
                )
            )

    assert run.execution.workflow.status is WorkflowStatus.COMPLETED


def test_branches_that_are_alike_share_what_they_are_made_of() -> None:
    _, run = start(*fork(forkTaskName="work", forkTaskInputs=[1, 2]))

    first, second = (run.execution.graph.node_of(run.execution.tasks[seq]) for seq in (2, 3))

    assert first.policy is second.policy
    assert (first.reference_name, second.reference_name) == ("_work_0", "_work_1")
    assert [first.task.task_reference_name, second.task.task_reference_name] == [
        "_work_0",
        "_work_1",
    ]
