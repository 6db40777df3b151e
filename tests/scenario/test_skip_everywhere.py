"""Skip any operator in any place, with an output. Source: semantics.md f, DESIGN.md 6.

The run steps over the task and over all that is inside it; its output is what was given; and
what comes behind it runs as ever.
"""

import pytest

from batuta.model.command import SkipTask
from batuta.model.error import ConflictError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from tests.scenario.driver import Run, World
from tests.scenario.everywhere import EVERYWHERE, carry_on, main_of, started, tree

# What is made at run time cannot be skipped before: nobody knows its name.
PLACES = [(operator, place) for operator, place in EVERYWHERE if place != "dynamic_fork"]
FORKS = {"FORK_JOIN", "FORK_JOIN_DYNAMIC"}  # the JOIN behind one is skipped with it
GIVEN = Payload.of({"by": "operator"})


def before_the_task(operator: str, place: str) -> tuple[World, Run, str]:
    """Go on until the pass that the task is in has begun; give its run and its full name."""
    world = started(operator, place)
    entered = "la" if place in {"loop", "fork_in_loop", "switch_in_loop"} else "a"
    carry_on(world, until=lambda _, task: task.node_name == entered)
    if place == "loop_in_fork":
        carry_on(world, until=lambda _, task: task.node_name == "la")
    run = tree(world)[-1]
    suffix = "__1" if "loop" in place and not place.startswith("sub_workflow") else ""
    return world, run, suffix


@pytest.mark.parametrize(("operator", "place"), PLACES)
def test_a_skipped_task_is_stepped_over_with_all_that_is_inside(operator: str, place: str) -> None:
    world, run, suffix = before_the_task(operator, place)
    workflow_id = run.execution.workflow.workflow_id
    names = ["t", "tj"] if operator in FORKS else ["t"]

    for name in names:
        world.submit(SkipTask(workflow_id=workflow_id, reference_name=name + suffix, output=GIVEN))
    carry_on(world)

    tasks = run.execution.in_order()
    assert main_of(world).execution.workflow.status is WorkflowStatus.COMPLETED
    for name in names:
        skipped = run.execution.latest_task(name + suffix)
        assert skipped is not None
        assert skipped.status is TaskStatus.SKIPPED
        assert run.execution.outputs[skipped.seq].value == GIVEN.value
    inside = {"ta", "tb", "tc"} if operator not in {"JOIN", "EXCLUSIVE_JOIN"} else set()
    assert not {task.reference_name for task in tasks} & {name + suffix for name in inside}
    assert not any(task.child_id for task in tasks if task.node_name == "t" and not suffix)
    # A TERMINATE that is skipped in one pass of a loop ends the run in the next.
    ends_later = operator == "TERMINATE" and suffix
    assert ends_later or "z" in {task.reference_name for task in tasks}


@pytest.mark.parametrize(("operator", "place"), PLACES)
def test_a_task_that_the_run_has_come_to_is_not_skipped(operator: str, place: str) -> None:
    world, run, suffix = before_the_task(operator, place)
    name = "t" + suffix
    carry_on(world, until=lambda *_: run.execution.latest_task(name) is not None)
    is_running = run.execution.workflow.status is WorkflowStatus.RUNNING
    assert is_running or operator == "TERMINATE"

    with pytest.raises(ConflictError, match="already" if is_running else "only in a RUNNING one"):
        world.submit(SkipTask(workflow_id=run.execution.workflow.workflow_id, reference_name=name))
