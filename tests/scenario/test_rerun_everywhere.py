"""Rerun from every operator in every place, with new input. Source: semantics.md f; DESIGN.md 3.3.

What a rerun promises wherever it begins: the task gets a new id and the input it is given; what
was made before it stays as it was, what was made after it is made again; and the run, with all
runs above it, comes to the same end as the first time.
"""

from typing import Any

import pytest

from batuta.model.command import RerunWorkflow, TerminateWorkflow
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from tests.scenario.driver import Run, World
from tests.scenario.everywhere import (
    EVERYWHERE,
    MAIN_ID,
    carry_on,
    main_of,
    picture,
    report,
    started,
    tasks_called,
    tree,
)

# One that runs beside a sub-workflow stays when it runs again (semantics.md f).
KEEPS_SIBLINGS = "SUB_WORKFLOW"
BESIDE = {"b1", "b2", "h1", "h2", "o"}
# One that ends the run at once: what it cut short beside it is not made again to be cut short.
CUTS_SHORT = "TERMINATE"


def rerun(world: World, run: Run, task: Task, given: dict[str, Any]) -> None:
    """Rerun main from a task of it or of a run below it."""
    workflow_id = run.execution.workflow.workflow_id
    world.submit(
        RerunWorkflow(
            workflow_id=workflow_id,
            task_id=task.task_id,
            task_input=Payload.of(given),
            up_to=MAIN_ID if workflow_id != MAIN_ID else None,
        )
    )


def input_of(run: Run, task: Task) -> dict[str, Any]:
    """Return a task's input, of a sub-workflow that of its child."""
    found: dict[str, Any] = run.execution.inputs[task.seq].value
    return found["workflowInput"] if task.task_type == "SUB_WORKFLOW" else found


@pytest.mark.parametrize(("operator", "place"), EVERYWHERE)
def test_a_rerun_begins_at_the_task_and_comes_to_the_same_end(operator: str, place: str) -> None:
    for number in range(len(_carried_to_its_end(operator, place)[1])):
        world, targets = _carried_to_its_end(operator, place)
        before = picture(world, is_cut_short_shown=operator != CUTS_SHORT)
        run, target = targets[number]
        tasks = run.execution.in_order()
        earlier = {task.task_id for task in tasks if task.seq < target.seq}
        later = {task.task_id for task in tasks if task.seq > target.seq}

        rerun(world, run, target, {**input_of(run, target), "n": 9})

        now = {task.task_id for task in run.execution.in_order()}
        assert target.task_id not in now
        assert earlier <= now
        if operator == KEEPS_SIBLINGS:
            beside = [task for task in tasks if task.node_name in BESIDE]
            of_its_pass = (task for task in beside if target.suffix.startswith(task.suffix))
            assert {task.task_id for task in of_its_pass} <= now
        else:
            assert not later & now
        again = run.execution.latest_task(target.reference_name)
        assert again is not None
        assert again.retry_count == target.retry_count
        assert input_of(run, again)["n"] == 9
        carry_on(world)
        assert picture(world, is_cut_short_shown=operator != CUTS_SHORT) == before


def _carried_to_its_end(operator: str, place: str) -> tuple[World, list[tuple[Run, Task]]]:
    world = started(operator, place)
    carry_on(world)
    assert main_of(world).execution.workflow.status is WorkflowStatus.COMPLETED
    targets = tasks_called(world, "t")
    assert targets, "the run came to the operator"
    return world, targets


@pytest.mark.parametrize("how", ["failed", "terminated"])
@pytest.mark.parametrize(("operator", "place"), [one for one in EVERYWHERE if one[0] != CUTS_SHORT])
def test_a_rerun_of_what_was_cut_short_comes_to_the_end_of_what_was_not(
    operator: str, place: str, how: str
) -> None:
    unharmed, _ = _carried_to_its_end(operator, place)
    world = started(operator, place)

    def is_behind(*_: object) -> bool:
        has_ended = [one.status.is_terminal for _, one in tasks_called(world, "t")]
        return bool(has_ended) and all(has_ended)

    stopped_at = carry_on(world, until=is_behind)
    assert stopped_at is not None, "something comes behind the operator"
    if how == "failed":
        run = next(run for run in tree(world) if run.execution.task(stopped_at.task_id))
        report(world, run, stopped_at, TaskStatus.FAILED_WITH_TERMINAL_ERROR)
    else:
        world.submit(TerminateWorkflow(workflow_id=MAIN_ID))
    assert not main_of(world).execution.workflow.status.is_successful
    run, target = tasks_called(world, "t")[-1]

    rerun(world, run, target, {**input_of(run, target), "n": 9})

    carry_on(world)
    assert picture(world) == picture(unharmed)
