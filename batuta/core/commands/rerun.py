"""Rerun: an ended run again, all of it or from one task. Source: semantics.md f.

Theory of operation. Rerunning from a task retires it and every task made after it (a larger
seq). A new task takes its place: OSS resets the same record, but an id that a worker may hold
never comes back (DESIGN.md 3.3). Then the tasks that stay are brought to where they were before:
what the run's end cut short is tried again, loops and JOINs that have lost something go on in
place, and those whose followers were retired are followed once more. Settling does the rest.
"""

import msgspec
from msgspec.structs import replace

from batuta.core.commands.reopen import (
    check_ended,
    failed_attempts,
    open_again,
    open_in_place,
    reopen,
    revive_parent,
)
from batuta.core.commands.restart import retire_all
from batuta.core.dag.ways import Ways
from batuta.core.draft import Draft
from batuta.core.graph import Node, inner_lists
from batuta.core.scope import task_input
from batuta.core.settle import followers, gather, start
from batuta.core.tasks import begin_attempt
from batuta.core.tasks.attempt import Attempt
from batuta.core.tasks.dag.way import reached as nodes_reached
from batuta.core.tasks.loop import go_back
from batuta.model.change import RetireTask
from batuta.model.command import RerunWorkflow
from batuta.model.definition import WorkflowTask
from batuta.model.error import Fault, InvalidError
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import EMPTY, Payload

_NO_FAILURE = {
    "ended_at_ms": 0,
    "failed_task_id": None,
    "failed_references": (),
    "failed_names": (),
    "failure_workflow_id": None,
}


class _Retired(msgspec.Struct, frozen=True):
    """A task that was retired, and the input that the one in its place is given."""

    task: Task
    given: Payload | None


def rerun(draft: Draft, command: RerunWorkflow) -> None:
    """Run an ended run again; variables are kept, and the parent is revived.

    Raises:
        ConflictError: The run has not ended.
        InvalidError: It has no such task (any more).
    """
    check_ended(draft, "rerun")
    task = None
    if command.task_id is not None:
        task = draft.execution.task(command.task_id)
        if task is None:
            message = f"Task {command.task_id} not found"
            raise InvalidError(
                f"reRunFromTaskId: {message} in workflow {command.workflow_id!r}; tasks that a "
                "rerun replaced have new ids",
                [Fault("reRunFromTaskId", message, command.task_id)],
            )
    revive_parent(draft, up_to=command.up_to)
    reopen(draft, **_NO_FAILURE)
    if command.correlation_id is not None:
        draft.put_workflow(correlation_id=command.correlation_id)
    if command.input is not None:
        draft.put_workflow(input=command.input)
    if task is None:
        retire_all(draft)
        start(draft)
    else:
        _rerun_from(draft, task, command.task_input)


def rerun_behind(draft: Draft, task: Task) -> None:
    """Run again what an ended run has behind a sub-workflow, one task of which runs again."""
    reopen(draft, **_NO_FAILURE)
    retired = _retire_after(draft, task)
    failed = _cut_short(draft, task)
    open_in_place(draft, task)
    _restore(draft, [_Retired(task, None), *retired], failed)


def is_in_current_pass(draft: Draft, task: Task) -> bool:
    """Say whether no loop around a task has gone on since."""
    execution = draft.execution
    loops = execution.graph.loops_of(task)
    numbers = [int(number) for number in task.suffix.split("__")[1:]]
    return all(
        (holder := execution.latest_task(loop)) is not None and holder.iteration == number
        for loop, number in zip(loops, numbers, strict=True)
    )


def open_around(draft: Draft, task: Task) -> None:
    """Open the loops and DAGs around a task that runs again, and the JOINs that wait for it."""
    for name in draft.execution.graph.holders_of(task):
        holder = draft.execution.latest_task(name)
        if holder is not None and holder.status.is_terminal:
            open_in_place(draft, holder)
    _open_joins(draft)


def _rerun_from(draft: Draft, task: Task, given: Payload | None) -> None:
    given = given or _input_before(draft, task)
    retired = _retire_after(draft, task)
    draft.note(RetireTask(task.seq))
    failed = _cut_short(draft, task)
    _begin_in_place_of(draft, task, given)
    _restore(draft, [_Retired(task, given), *retired], failed)


def _restore(draft: Draft, again: "list[_Retired]", failed: list[Task]) -> None:
    """Bring what stays to where it was before the tasks that run again, the first included."""
    for other in failed:
        open_again(draft, other)
    _make_branches(draft, again)
    _go_back_in_loops(draft, [gone.task for gone in again])
    _open_joins(draft, frozenset(gone.task.reference_name for gone in again))
    _follow_again(draft)
    gather(draft)


def _retire_after(draft: Draft, task: Task) -> list[_Retired]:
    """Retire the tasks made after a task, oldest first; return them.

    What an operator skipped stays skipped, and beside a SUB_WORKFLOW the branches parallel to
    it stay. Source: semantics.md f.
    """
    is_child = task.task_type == "SUB_WORKFLOW"
    kept = _parallel(draft, task) if is_child else {}
    numbers = task.suffix.split("__")[1:]
    retired = []
    for other in draft.execution.in_order():
        if other.seq <= task.seq or other.is_skipped_by_hand:
            continue
        if is_child and _is_other_branch(task, other):
            continue
        depth = kept.get(_defined_name(other))
        if depth is not None and other.suffix.split("__")[1:][:depth] == numbers[:depth]:
            continue
        given = _input_before(draft, other) if other.origin is not None else None
        retired.append(_Retired(other, given))
    for one in reversed(retired):  # so that names fall back to the attempts before
        draft.note(RetireTask(one.task.seq))
    return retired


def _defined_name(task: Task) -> str:
    """Return the name of the node that a task is of; what a run made is of what made it."""
    origin = task.origin
    while origin is not None and origin.outer is not None:
        origin = origin.outer
    return task.node_name if origin is None else origin.node


def _parallel(draft: Draft, task: Task) -> dict[str, int]:
    """Return the nodes that a task does not lead to in the forks and DAGs around it.

    By name, with how many loops are around both.
    """
    found: dict[str, int] = {}
    inner = draft.execution.graph.node_of(task)
    fork: Node | None = inner.owner
    while fork is not None:
        for branch in fork.task.fork_tasks:
            names = _names(branch)
            if inner.reference_name not in names:
                found.update(dict.fromkeys(names, len(fork.loops)))
        if fork.ways is not None:
            led_to = _led_to(fork.ways, inner.reference_name)
            beside = [n for n in fork.task.dag_tasks or () if n.task_reference_name not in led_to]
            found.update(dict.fromkeys(_names(beside), len(fork.loops)))
        inner, fork = fork, fork.owner
    return found


def _led_to(ways: Ways, name: str) -> set[str]:
    """Return a node of a DAG and all that it leads to."""
    found = {name}
    for other in ways.order:
        if any(edge.source in found for edge in ways.into[other]):
            found.add(other)
    return found


def _is_other_branch(task: Task, other: Task) -> bool:
    """Say whether two tasks are in different branches of the same dynamic fork."""
    ours, theirs = task.origin, other.origin
    return (
        ours is not None
        and theirs is not None
        and (ours.node, ours.outer) == (theirs.node, theirs.outer)
        and ours.root != theirs.root
        and other.suffix.startswith(task.suffix)
    )


def _names(tasks: list[WorkflowTask]) -> set[str]:
    names = set()
    for task in tasks:
        names.add(task.task_reference_name)
        for inner in inner_lists(task):
            names |= _names(list(inner))
    return names


def _input_before(draft: Draft, task: Task) -> Payload | None:
    """Return the input that a task keeps: a worker's, or a branch's that was made at run time.

    Whatever the engine does itself has its input resolved anew.
    """
    if task.queue is None and task.origin is None:
        return None
    whole = task_input(draft, task)
    if task.task_type != "SUB_WORKFLOW" or draft.wanted:
        return whole
    return Payload.of(whole.value.get("workflowInput") or {})


def _begin_in_place_of(draft: Draft, task: Task, given: Payload | None) -> None:
    """Make a new task where a retired one was: as many attempts in, with a new id and seq."""
    before = draft.execution.task(task.retried_task_id or "")
    if before is not None:
        before = replace(before, first_scheduled_at_ms=draft.now_ms)
    node = draft.execution.graph.node_of(task)
    attempt = Attempt(
        node=node,
        suffix=task.suffix,
        retry_of=before,
        origin=task.origin,
        given_input=given,
        joins=(task.join_on or None) if node.type == "JOIN" else None,
        replaces=task.task_id,
    )
    begin_attempt(draft, attempt)


def _cut_short(draft: Draft, again: Task) -> list[Task]:
    """Return what failed or was cancelled and was not let through, but for one that runs again.

    Where the attempt behind one is retired, that one is the last again.
    """
    execution, name = draft.execution, again.reference_name
    for task in execution.in_order():
        is_newest = execution.latest.get(task.reference_name) == task.seq
        if task.is_retried and is_newest and task.reference_name != name:
            draft.put(task, is_retried=False)
    failed = failed_attempts(draft)
    return [task for task in failed if not task.is_executed and task.reference_name != name]


def _make_branches(draft: Draft, again: list[_Retired]) -> None:
    """Make the branches of dynamic forks again that lost their root, and their JOINs.

    The fork itself stays and is not evaluated again: the tasks say what it had made. One that
    runs again itself makes its branches anew, and maybe others.
    """
    execution = draft.execution
    gone = {one.task.reference_name for one in again}
    forks = {
        (node.then, task.suffix): task
        for task in execution.in_order()
        if (node := execution.graph.node_of(task)).type == "FORK_JOIN_DYNAMIC"
        and task.reference_name not in gone
        and task.status is not TaskStatus.SKIPPED  # the run comes to what is behind it
    }
    for task, given in ((one.task, one.given) for one in again[1:]):
        if execution.latest_task(task.reference_name) is not None:
            continue
        if task.task_type == "JOIN" and (task.node_name, task.suffix) in forks:
            _begin_in_place_of(draft, task, None)
        origin = task.origin
        if origin is not None and task.node_name == origin.root:
            maker = execution.latest_task(origin.node + task.suffix)
            if maker is not None and maker.task_type == "FORK" and maker.reference_name not in gone:
                _begin_in_place_of(draft, task, given)


def _go_back_in_loops(draft: Draft, again: list[Task]) -> None:
    """Set each loop that lost tasks back to the first pass that lost one; open the DAGs.

    One that was retired itself is made anew, and begins with its first pass.
    """
    execution = draft.execution
    retired = {task.reference_name for task in again}
    for name in dict.fromkeys(dag for task in again for dag in execution.graph.dags_of(task)):
        dag = execution.latest_task(name)
        if dag is not None and dag.status.is_terminal:
            open_in_place(draft, dag, output=EMPTY)
    lost: dict[str, int] = {}
    for task in again:
        numbers = [int(number) for number in task.suffix.split("__")[1:]]
        for loop, number in zip(execution.graph.loops_of(task), numbers, strict=True):
            lost[loop] = min(lost.get(loop, number), number)
    for name, first in lost.items():
        holder = execution.latest_task(name)
        if holder is not None and name not in retired:
            go_back(draft, open_in_place(draft, holder), first)


def _open_joins(draft: Draft, gone: frozenset[str] = frozenset()) -> None:
    """Open the JOINs that have ended and wait for something that runs again, or will."""
    execution = draft.execution
    joins = [task for task in execution.in_order() if task.task_type.endswith("JOIN")]
    has_moved = True
    while has_moved:
        has_moved = False
        for join in joins:
            task = execution.tasks[join.seq]
            is_skipped = task.status is TaskStatus.SKIPPED
            if not task.status.is_terminal or task.is_retried or is_skipped:
                continue
            if any(_runs_again(draft, name, gone) for name in task.join_on):
                open_in_place(draft, task, output=EMPTY)
                has_moved = True


def _runs_again(draft: Draft, name: str, gone: frozenset[str]) -> bool:
    """Say whether a task is open, or has gone, so that the run comes to it again."""
    task = draft.execution.latest_task(name)
    return name in gone if task is None else not task.status.is_terminal


def _follow_again(draft: Draft) -> None:
    """Have the tasks that stay followed again where a follower of theirs has gone.

    A skipped task that nothing leads to any more is one that the run has not come to; whether a
    DAG leaves it out is decided anew.
    """
    execution = draft.execution
    tasks = execution.in_order()
    reached: set[str | None] = {execution.graph.first}
    lacking: list[Task] = []
    for task in tasks:
        node = execution.graph.node_of(task)
        if node.type == "DO_WHILE" and node.task.loop_over:
            first = node.task.loop_over[0].task_reference_name + task.suffix
            reached.update(f"{first}__{number}" for number in range(1, task.iteration + 1))
        if node.ways is not None:
            reached |= nodes_reached(execution, task)
        is_newest = execution.latest.get(task.reference_name) == task.seq
        if not (task.is_executed and task.status.is_terminal and is_newest):
            continue
        names = [] if node.type == "TERMINATE" else followers(draft, task, node)
        names = [name + task.suffix for name in names]
        reached.update(names)
        if any(execution.latest_task(name) is None for name in names):
            lacking.append(task)
    for task in lacking:
        draft.agenda.append(draft.put(task, is_executed=False).seq)
    for task in tasks:
        if task.status is TaskStatus.SKIPPED and task.reference_name not in reached:
            known = execution.tasks[task.seq]
            reason = None if known.is_left_out else known.reason
            draft.put(known, is_executed=False, is_left_out=False, reason=reason)
            if task.seq in draft.agenda:
                draft.agenda.remove(task.seq)
