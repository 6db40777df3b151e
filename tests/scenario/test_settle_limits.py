"""What an interrupted decision leaves for the next one, and what it must not leave."""

import pytest

from batuta.core import settle
from batuta.model.command import SkipTask
from batuta.model.execution import TaskStatus, WorkflowStatus
from tests.unit.test_decide import WORKFLOW_ID, report, started

FORK = [
    {"ref": "w", "type": "WAIT"},
    {
        "ref": "f",
        "type": "FORK_JOIN",
        "forkTasks": [[{"ref": "n", "type": "NOOP"}, {"ref": "s"}], [{"ref": "a"}]],
    },
    {"ref": "j", "type": "JOIN", "joinOn": ["s", "a"]},
]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_skipped_task_is_stepped_over_wherever_a_decision_stops(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "SETTLE_STEPS_MAX", steps)
    world, run = started(*FORK)
    world.submit(SkipTask(workflow_id=WORKFLOW_ID, reference_name="s"))

    world.submit(report(run, "w"))
    for _ in range(9):
        world.advance(world.now_ms)

    assert run.execution.latest_task("s").is_executed, "the run has come past it"
    world.submit(report(run, "a"))
    for _ in range(9):
        world.advance(world.now_ms)
    assert run.execution.latest_task("j").status is TaskStatus.COMPLETED
    assert run.execution.workflow.status is WorkflowStatus.COMPLETED


DAG = [
    {"ref": "w", "type": "WAIT"},
    {
        "ref": "g",
        "type": "DAG",
        "dagTasks": [{"ref": "a", "type": "NOOP"}, {"ref": "b", "type": "NOOP"}, {"ref": "c"}],
        "dagEdges": [
            {"from": "a", "to": "c", "when": "$.x == 1"},
            {"from": "b", "to": "c", "when": "$.x == 1"},
        ],
    },
    {"ref": "z"},
]


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5])
def test_a_late_report_between_two_parts_of_a_decision_finds_nothing_stuck(
    parts: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "SETTLE_STEPS_MAX", steps)
    world, run = started(*DAG)
    late = report(run, "w")

    world.submit(report(run, "w"))
    for _ in range(parts):
        if (due := world._next_due()) is not None:
            world.submit(due[1])
    world.submit(late)
    for _ in range(9):
        world.advance(world.now_ms)

    assert run.execution.latest_task("g").status is TaskStatus.COMPLETED
    assert run.execution.latest_task("z").status is TaskStatus.SCHEDULED
