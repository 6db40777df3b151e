"""FORK_JOIN: several branches at once. The JOIN that follows it waits for them."""

from batuta.core.draft import Draft
from batuta.core.tasks.attempt import Attempt, create
from batuta.model.execution import TaskStatus


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the FORK, completed at once; the wire shows its type as FORK (gotchas.md 30).

    Settling then schedules the first task of each branch and the JOIN behind it.
    """
    branches = [branch[0].task_reference_name for branch in attempt.node.task.fork_tasks if branch]
    task = create(
        draft,
        attempt,
        task_type="FORK",
        started_at_ms=draft.now_ms,
        extra_input={"forkedTasks": branches},
    )
    if task is not None:
        draft.end(task, TaskStatus.COMPLETED)
