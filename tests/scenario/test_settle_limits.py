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
