"""What every decision keeps, whatever it decides. Checked by each scenario and random history."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from batuta.core.execution import CONTAINER_TYPES, Execution
from batuta.core.journal import fold
from batuta.model.change import Change, Enqueue, Needs, PutTask, PutWorkflow, SetTimer
from batuta.model.execution import TaskStatus, WorkflowStatus

INDEXES = (
    "tasks",
    "by_id",
    "latest",
    "latest_of_node",
    "live",
    "unexecuted",
    "waiting",
    "unsettled",
    "loop_live",
)


def check_decision(
    execution: Execution, again: Callable[[], Sequence[Change] | Needs]
) -> Sequence[Change] | Needs:
    """Decide twice: the same changes, one Put a record, and the execution as it was."""
    before = picture(execution)

    changes = again()

    assert again() == changes, "the same arguments give the same changes"
    assert picture(execution) == before, "decide changes nothing that it is given"
    if not isinstance(changes, Needs):
        _check_changes(changes)
    return changes


def check_run(
    execution: Execution,
    queued: Iterable[str],
    timers: Iterable[tuple[str, Any]],
    entries: Iterable[tuple[int, int, bytes]],
) -> None:
    """Hold a run after a commit against what must be true of every run."""
    _check_indexes(execution)
    _check_journal(execution, entries)
    _check_passes(execution)
    workflow = execution.workflow
    live = {task.task_id for task in execution.live_tasks()}
    with_timer = {task_id for task_id, _ in timers if task_id}
    assert with_timer <= live, "an ended task has no timer"
    assert set(queued) <= live, "an ended task is in no queue"
    assert set(execution.leases) <= live, "an ended task is in no hands"
    assert not set(queued) & set(execution.leases), "a task is queued or held, not both"
    if workflow.status.is_terminal:
        assert not live, "an ended run has no live task"
        assert not [kind for task_id, kind in timers if kind == "WORKFLOW_TIMEOUT"]
        return
    moving = set(queued) | set(execution.leases) | with_timer
    for task in execution.live_tasks():
        if task.queue is not None:
            assert task.task_id in moving, f"{task.reference_name} is queued, held or has a timer"
    if workflow.status is WorkflowStatus.RUNNING and "CONTINUE" not in {k for _, k in timers}:
        assert not execution.unexecuted, "a settled run has computed all that follows"
        # A DAG that waits for the delay of an edge moves by its own timer.
        has_delay = any(task.due_at_ms for task in execution.live_tasks())
        assert execution.active_count > 0 or has_delay, "a running run has what can move it"


def picture(execution: Execution) -> Any:
    """Return all that an execution holds, to compare it with itself later."""
    indexes = [dict(getattr(execution, name)) for name in INDEXES]
    payloads = [dict(execution.inputs), dict(execution.outputs)]
    own = (execution.input, execution.output, execution.variables, execution.workflow)
    counts = (execution.live_count, execution.active_count, execution.seq_last)
    return indexes, payloads, own, counts, dict(execution.leases), execution.size_bytes


def rebuilt(execution: Execution) -> Execution:
    """Return the execution as a load from the store would build it."""
    fresh = Execution(
        execution.workflow,
        execution.graph,
        input=execution.input,
        output=execution.output,
        variables=execution.variables,
    )
    for task in execution.in_order():
        fresh.put(task, execution.inputs.get(task.seq), execution.outputs.get(task.seq))
    return fresh


def _check_changes(changes: Sequence[Change]) -> None:
    puts = Counter(change.task.seq for change in changes if isinstance(change, PutTask))
    assert not puts or max(puts.values()) == 1, "one Put a task"
    assert sum(isinstance(change, PutWorkflow) for change in changes) <= 1, "one Put of the run"
    queued = Counter(change.task_id for change in changes if isinstance(change, Enqueue))
    assert not queued or max(queued.values()) == 1, "one Enqueue a task"
    timers = Counter((c.task_id, c.kind) for c in changes if isinstance(c, SetTimer))
    assert not timers or max(timers.values()) == 1, "one timer of a kind a task"


def _check_indexes(execution: Execution) -> None:
    fresh = rebuilt(execution)
    for name in INDEXES:
        ours, theirs = dict(getattr(execution, name)), dict(getattr(fresh, name))
        if name == "loop_live":
            ours = {loop: count for loop, count in ours.items() if count}
            theirs = {loop: count for loop, count in theirs.items() if count}
        if name == "waiting":
            ours = {key: set(joins) for key, joins in ours.items()}
            theirs = {key: set(joins) for key, joins in theirs.items()}
        assert ours == theirs, f"the index {name} is that of a fresh load"
    assert execution.live_count == len(fresh.live) == fresh.live_count
    assert execution.active_count == fresh.active_count
    assert execution.active_count == sum(
        task.task_type not in CONTAINER_TYPES for task in fresh.live_tasks()
    )
    assert execution.seq_last == fresh.seq_last
    assert execution.size_bytes == fresh.size_bytes


def _check_passes(execution: Execution) -> None:
    """A loop's next pass begins when all of the one before has ended, never earlier."""
    newest: dict[str, int] = {}
    for task in execution.in_order():
        loops, numbers = execution.graph.loops_of(task), task.suffix.split("__")[1:]
        for loop, number in zip(loops, map(int, numbers), strict=True):
            if not task.status.is_terminal:
                holder = execution.latest_task(loop)
                if holder is None and execution.workflow.epoch:
                    continue  # rerun from a task that was skipped before its loop was there
                assert holder is not None, "a loop outlives its tasks"
                assert holder.iteration == number, f"{task.reference_name} is of an older pass"
            if task.retry_count == 0 and task.status is not TaskStatus.SKIPPED:
                assert number >= newest.get(loop, 0), f"{task.reference_name} came too late"
                newest[loop] = number


def _check_journal(execution: Execution, entries: Iterable[tuple[int, int, bytes]]) -> None:
    workflow, tasks = fold(entries)
    assert workflow == execution.workflow, "the journal folds to the run's header"
    ours = {task.seq: task for task in execution.in_order()}
    for seq, folded in tasks.items():
        same = msgspec.structs.replace(ours[seq], updated_at_ms=folded.updated_at_ms)
        assert folded == same, "the journal folds to the tasks' headers"
    assert tasks.keys() == ours.keys()
