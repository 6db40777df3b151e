"""Retry with resumeSubworkflowTasks, and without, of what failed in any place.

Source: semantics.md f. Whatever failed is tried again, once; what had completed stays; and the run
comes to the end that it has when nothing fails. A failed sub-workflow goes on with
resumeSubworkflowTasks, and is begun anew without.
"""

import pytest

from batuta.model.command import RetryWorkflow
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from tests.scenario.driver import Run, World
from tests.scenario.everywhere import (
    EVERYWHERE,
    MAIN_ID,
    carry_on,
    main_of,
    picture,
    report,
    started,
    tree,
)

# Operators of which nothing can be reported: they end in the decision that begins them.
AT_ONCE = {
    *("NOOP", "SET_VARIABLE", "INLINE", "LAMBDA", "JSON_JQ_TRANSFORM"),
    *("START_WORKFLOW", "TERMINATE", "WAIT"),
}
FAILING = [(operator, place) for operator, place in EVERYWHERE if operator not in AT_ONCE]


def failed_in(operator: str, place: str, *, number: int) -> World | None:
    """Fail the operator's piece of work that comes as ``number``; None when there are fewer."""
    world, seen = started(operator, place), 0

    def is_it(_: Run, task: Task) -> bool:
        nonlocal seen
        is_ours = task.node_name in {"t", "ta", "tb", "tc", "i"} or task.origin is not None
        seen += is_ours
        return is_ours and seen > number

    task = carry_on(world, until=is_it)
    if task is None:
        return None
    run = next(run for run in tree(world) if run.execution.task(task.task_id) is not None)
    report(world, run, task, TaskStatus.FAILED_WITH_TERMINAL_ERROR)
    assert main_of(world).execution.workflow.status is WorkflowStatus.FAILED
    return world


def completed(world: World) -> set[str]:
    """Return the ids of what has completed in main and below it."""
    return {
        task.task_id
        for run in tree(world)
        for task in run.execution.in_order()
        if task.status is TaskStatus.COMPLETED
    }


@pytest.mark.parametrize("resumes", [True, False], ids=["resumed", "anew"])
@pytest.mark.parametrize(("operator", "place"), FAILING)
def test_a_retry_comes_to_the_end_that_nothing_failing_has(
    operator: str, place: str, *, resumes: bool
) -> None:
    unharmed = started(operator, place)
    carry_on(unharmed)
    number = 0
    while (world := failed_in(operator, place, number=number)) is not None:
        children = [run.execution.workflow.workflow_id for run in tree(world)][1:]
        before = completed(world)

        world.submit(RetryWorkflow(workflow_id=MAIN_ID, resume_children=resumes))

        states = [run.execution.workflow.status for run in tree(world)]
        assert states[0] is WorkflowStatus.RUNNING
        assert WorkflowStatus.FAILED not in states
        carry_on(world)
        assert picture(world) == picture(unharmed)
        if resumes:
            assert before <= completed(world)
            now = [run.execution.workflow.workflow_id for run in tree(world)]
            assert set(children) <= set(now), "each goes on in the run it was"
        number += 1
    assert number, "something could fail"
