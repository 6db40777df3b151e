"""JOIN: waits for named tasks and gathers what they gave.

It is decided in the commit that ends the last of them; nothing polls for it. The index
``Execution.unsettled`` counts down, so that a branch's end costs the same in a fork of 10 and
of 10,000. Source: semantics.md c.4.
"""

from typing import Any

import msgspec

from batuta.core.draft import Draft
from batuta.core.execution import Execution
from batuta.core.scope import task_output
from batuta.core.tasks.attempt import Attempt, create, set_limits
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import Payload


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the JOIN, in progress and visible together with its fork (gotchas.md 31)."""
    names = tuple(name + attempt.suffix for name in attempt.node.task.join_on)
    task = create(
        draft,
        attempt,
        status=TaskStatus.IN_PROGRESS,
        started_at_ms=draft.now_ms,
        join_on=names,
        extra_input={"joinOn": attempt.node.task.join_on},
    )
    if task is not None:
        set_limits(draft, task, attempt.node.policy)
        draft.checks[task.seq] = None


def check_join(draft: Draft, task: Task) -> bool:
    """End the JOIN if every task it waits for has ended; say whether it has.

    An unsuccessful branch that is neither optional nor permissive has ended the run before;
    a permissive one fails the JOIN here, after all have ended; cancelled ones cancel it.
    """
    execution = draft.execution
    if execution.unsettled.get(task.seq, 0) > 0:
        return False
    ended = [execution.latest_task(name) for name in task.join_on]
    bad = [branch for branch in ended if branch is not None and not branch.status.is_successful]
    output = joined_output(draft, task)
    if bad:
        are_cancelled = all(branch.status is TaskStatus.CANCELED for branch in bad)
        status = TaskStatus.CANCELED if are_cancelled else TaskStatus.FAILED
        reason = " ".join(branch.reason for branch in bad if branch.reason) or None
        draft.end(task, status, output=output, reason=reason)
        return True
    erroneous = [
        branch
        for branch in ended
        if branch is not None and branch.status is TaskStatus.COMPLETED_WITH_ERRORS
    ]
    if erroneous:
        names = ", ".join(f"{branch.task_type}/{branch.task_id}" for branch in erroneous)
        reason = f"{names} completed with errors"
        draft.end(task, TaskStatus.COMPLETED_WITH_ERRORS, output=output, reason=reason)
    else:
        draft.end(task, TaskStatus.COMPLETED, output=output)
    return True


def joined_output(draft: Draft, task: Task) -> Payload:
    """Return ``{reference: output}`` of the branches that gave something, bytes as they are."""
    gathered: dict[str, Any] = {}
    for name in task.join_on:
        branch = draft.execution.latest_task(name)
        if branch is None:
            continue
        output = task_output(draft, branch)
        if output.raw is not None and output.raw != b"{}":
            gathered[name] = msgspec.Raw(output.raw)
    return Payload.of(gathered)


def fail_stuck_join(draft: Draft) -> None:
    """End a JOIN that can never be decided: nothing else of the run is live.

    It waits for a task that this path never made (a typo, a SWITCH that went elsewhere). OSS
    waits for ever; DESIGN.md 6: answer as a user would expect.
    """
    execution = draft.execution
    joins = [task for task in execution.live_tasks() if task.task_type == "JOIN"]
    # One that waits for another JOIN is not to blame for what that one waits for.
    join = next((task for task in joins if _never_reached(execution, task)), joins[0])
    missing = _never_reached(execution, join) or list(join.join_on)
    reason = (
        f"JOIN {join.reference_name!r} waits for {missing!r}, which this run never reached; "
        "correct its joinOn"
    )
    draft.end(join, TaskStatus.FAILED, output=joined_output(draft, join), reason=reason)


def _never_reached(execution: Execution, join: Task) -> list[str]:
    return [name for name in join.join_on if execution.latest_task(name) is None]
