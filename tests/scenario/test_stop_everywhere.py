"""A run that is stopped in any place goes on by any operation, to the end it has undisturbed.

Source: semantics.md f. Paused and resumed with a report in between; or terminated, and then
retried with and without its children, restarted, or rerun.
"""

import functools
import itertools
from typing import Any

import pytest

from batuta.model.command import (
    Control,
    PauseWorkflow,
    RerunWorkflow,
    RestartWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    TerminateWorkflow,
)
from batuta.model.execution import WorkflowStatus
from tests.scenario.driver import World
from tests.scenario.everywhere import (
    EVERYWHERE,
    MAIN_ID,
    carry_on,
    main_of,
    open_work,
    picture,
    report,
    started,
    tree,
)

GO_ON: dict[str, Control] = {
    "retried": RetryWorkflow(workflow_id=MAIN_ID),
    "retried with children": RetryWorkflow(workflow_id=MAIN_ID, resume_children=True),
    "restarted": RestartWorkflow(workflow_id=MAIN_ID),
    "rerun": RerunWorkflow(workflow_id=MAIN_ID),
}


@functools.cache
def undisturbed(operator: str, place: str) -> tuple[list[Any], int]:
    """Return the end of a run that nobody stops, and how much work there is to do in it."""
    world, work = started(operator, place), itertools.count()
    carry_on(world, until=lambda *_: next(work) < 0)
    return picture(world), next(work)


def stopped_midway(operator: str, place: str) -> World:
    """Start a run and do half of what it has to do."""
    world, work = started(operator, place), itertools.count()
    half = undisturbed(operator, place)[1] // 2
    carry_on(world, until=lambda *_: next(work) == half)
    assert main_of(world).execution.workflow.status is WorkflowStatus.RUNNING
    return world


@pytest.mark.parametrize(("operator", "place"), EVERYWHERE)
def test_a_terminated_run_goes_on_by_any_operation(operator: str, place: str) -> None:
    for name, command in GO_ON.items():
        world = stopped_midway(operator, place)
        world.submit(TerminateWorkflow(workflow_id=MAIN_ID))
        assert all(run.execution.workflow.status.is_terminal for run in tree(world))

        world.submit(command)

        assert main_of(world).execution.workflow.status is WorkflowStatus.RUNNING, name
        carry_on(world)
        assert picture(world) == undisturbed(operator, place)[0], name


@pytest.mark.parametrize(("operator", "place"), EVERYWHERE)
def test_a_paused_run_goes_on_when_it_is_resumed(operator: str, place: str) -> None:
    world = stopped_midway(operator, place)
    open_runs = [run for run in tree(world) if not run.execution.workflow.status.is_terminal]
    ids = [run.execution.workflow.workflow_id for run in open_runs]

    for workflow_id in ids:
        world.submit(PauseWorkflow(workflow_id))
    report(world, *next(open_work(world)))
    assert not any(run.execution.workflow.status.is_terminal for run in open_runs)
    for workflow_id in ids:
        world.submit(ResumeWorkflow(workflow_id))

    carry_on(world)
    assert picture(world) == undisturbed(operator, place)[0]
