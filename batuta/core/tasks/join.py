"""JOIN waits for named tasks and gathers what they gave; EXCLUSIVE_JOIN for the first reached.

It is decided in the commit that ends the last of them; nothing polls for it. The index
``Execution.unsettled`` counts down, so that a branch's end costs the same in a fork of 10 and
of 10,000. Source: semantics.md c.4.
"""

from collections.abc import Sequence
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
    listed, suffix = attempt.node.task.join_on, attempt.suffix
    names = attempt.joins
    if names is None:
        names = tuple(name + suffix for name in listed)
    else:
        listed = [name.removesuffix(suffix) for name in names]
    task = create(
        draft,
        attempt,
        status=TaskStatus.IN_PROGRESS,
        started_at_ms=draft.now_ms,
        join_on=names,
        extra_input={"joinOn": listed},
    )
    if task is not None:
        set_limits(draft, task, attempt.node.policy)
        draft.checks[task.seq] = None


def begin_exclusive(draft: Draft, attempt: Attempt) -> None:
    """Create the EXCLUSIVE_JOIN, in progress; settling ends it, mostly at once."""
    definition = attempt.node.task
    others = definition.default_exclusive_join_task
    task = create(
        draft,
        attempt,
        status=TaskStatus.IN_PROGRESS,
        started_at_ms=draft.now_ms,
        join_on=tuple(name + attempt.suffix for name in (*definition.join_on, *others)),
        extra_input={"joinOn": definition.join_on, "defaultExclusiveJoinTask": others},
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
    end_as(draft, task, task.join_on)
    return True


def end_as(draft: Draft, task: Task, names: Sequence[str]) -> None:
    """End a JOIN or a DAG as the tasks of these full names have, with what they gave."""
    found = [draft.execution.latest_task(name) for name in names]
    ended = [branch for branch in found if branch is not None]
    bad = [branch for branch in ended if not branch.status.is_successful]
    output = gathered(draft, names)
    if bad:
        are_cancelled = all(branch.status is TaskStatus.CANCELED for branch in bad)
        status = TaskStatus.CANCELED if are_cancelled else TaskStatus.FAILED
        reason = " ".join(branch.reason for branch in bad if branch.reason) or None
        draft.end(task, status, output=output, reason=reason)
        return
    erroneous = [branch for branch in ended if branch.status is TaskStatus.COMPLETED_WITH_ERRORS]
    if erroneous:
        names = ", ".join(f"{branch.task_type}/{branch.task_id}" for branch in erroneous)
        reason = f"{names} completed with errors"
        draft.end(task, TaskStatus.COMPLETED_WITH_ERRORS, output=output, reason=reason)
    else:
        draft.end(task, TaskStatus.COMPLETED, output=output)


def check_exclusive_join(draft: Draft, task: Task) -> bool:
    """End the EXCLUSIVE_JOIN as the first task of its lists that was reached; say if it ended.

    joinOn goes before defaultExclusiveJoinTask, which counts only when nothing of joinOn has
    ended. A permissive failure is waited with until all of joinOn that was reached has ended.
    Source: semantics.md c.4.
    """
    execution = draft.execution
    count = len(execution.graph.node_of(task).task.join_on)
    reached = [_reached(execution, name) for name in task.join_on]
    first = next((found for found in reached[:count] if found is not None), None)
    if first is None or not first.status.is_terminal:
        first = next((found for found in reached[count:] if found is not None), None)
    if first is None or not first.status.is_terminal:
        return False
    if first.status.is_successful:
        draft.end(task, TaskStatus.COMPLETED, output=task_output(draft, first))
        return True
    if any(found is not None and not found.status.is_terminal for found in reached[:count]):
        return False
    draft.end(task, TaskStatus.FAILED, reason=first.reason)
    return True


def _reached(execution: Execution, name: str) -> Task | None:
    found = execution.latest_task(name)
    return None if found is None or found.status is TaskStatus.SKIPPED else found


def gathered(draft: Draft, names: Sequence[str]) -> Payload:
    """Return ``{reference: output}`` of the tasks that gave something, bytes as they are."""
    found: dict[str, Any] = {}
    for name in names:
        branch = draft.execution.latest_task(name)
        if branch is None:
            continue
        output = task_output(draft, branch)
        if output.raw is not None and output.raw != b"{}":
            found[name] = msgspec.Raw(output.raw)
    return Payload.of(found)


def fail_stuck_join(draft: Draft) -> None:
    """End a JOIN that can never be decided: nothing else of the run is live.

    It waits for a task that this path never made (a typo, a SWITCH that went elsewhere). OSS
    waits for ever; DESIGN.md 6: answer as a user would expect.
    """
    execution = draft.execution
    joins = [task for task in execution.live_tasks() if task.task_type.endswith("JOIN")]
    # One that waits for another JOIN, or for what comes behind it, is not to blame for what that
    # one waits for: the newest is the innermost.
    joins.sort(key=lambda task: -task.seq)
    join = next((task for task in joins if _never_reached(execution, task)), joins[-1])
    missing = _never_reached(execution, join) or list(join.join_on)
    reason = (
        f"{join.task_type} {join.reference_name!r} waits for {missing!r}, which this run never "
        "reached; correct its joinOn"
    )
    output = gathered(draft, join.join_on) if join.task_type == "JOIN" else None
    draft.end(join, TaskStatus.FAILED, output=output, reason=reason)


def _never_reached(execution: Execution, join: Task) -> list[str]:
    return [name for name in join.join_on if execution.latest_task(name) is None]
