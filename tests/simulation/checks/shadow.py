"""What each run looked like after its last commit, kept apart from the store."""

from typing import Any

import msgspec

from batuta.core.graph import Graph
from batuta.model.execution import Task, TaskStatus, Workflow, WorkflowStatus
from batuta.store.base import Entry
from batuta.store.memory.rows import State

REOPENING = frozenset({"retry", "revive", "restart", "rerun"})


class Shadow:
    """One run as last seen, with its whole history of statuses and journal entries."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.workflow: Workflow | None = None
        self.tasks: dict[int, Task] = {}
        self.outputs: dict[int, bytes | None] = {}
        self.entries: list[Entry] = []
        self.statuses: list[tuple[int, WorkflowStatus]] = []  # (commit number, status)
        self.reopened_count = 0
        self.is_removed = False

    @property
    def version(self) -> int:
        """The version seen last; 0 for a run that is not stored."""
        return self.workflow.version if self.workflow else 0

    def statuses_since(self, commit: int) -> set[WorkflowStatus]:
        """Return the statuses the run had at or after a commit."""
        found = {status for number, status in self.statuses if number > commit}
        before = [status for number, status in self.statuses if number <= commit]
        return found | set(before[-1:])


class Rows(msgspec.Struct, frozen=True):
    """The rows of one run, gathered from the store's tables."""

    workflow: Workflow
    graph: Graph
    tasks: dict[int, Task]
    outputs: dict[int, bytes | None]
    ready: dict[str, Any]
    held: dict[str, Any]
    timers: dict[tuple[str, str], int]

    @property
    def latest(self) -> dict[str, Task]:
        """The newest attempt by full reference name."""
        return {task.reference_name: task for _, task in sorted(self.tasks.items())}

    @property
    def live(self) -> list[Task]:
        """The tasks that are not terminal."""
        return [task for task in self.tasks.values() if not task.status.is_terminal]


def rows_of(state: State, workflow_id: str, graph: Graph) -> Rows:
    """Return a run's rows as the store has them now."""
    run = state.runs[workflow_id]
    tasks = {seq: row.task for seq, row in run.tasks.items() if not row.is_retired}
    return Rows(
        workflow=run.workflow,
        graph=graph,
        tasks=tasks,
        outputs={seq: run.payloads.get((seq, "output")) for seq in tasks},
        ready={k: row for k, row in state.ready.items() if row.workflow_id == workflow_id},
        held={k: row for k, row in state.held.items() if row.lease.workflow_id == workflow_id},
        timers={(t, kind): due for (w, t, kind), due in state.timers.items() if w == workflow_id},
    )


def is_let_through(before: Task, after: Task) -> bool:
    """Say whether an optional task's failure was counted as completed when it was dealt with."""
    return (
        not before.is_executed
        and after.is_executed
        and not before.status.is_successful
        and after.status is TaskStatus.COMPLETED_WITH_ERRORS
    )
