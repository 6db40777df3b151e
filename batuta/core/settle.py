"""From ended tasks to what follows them, until nothing follows at once.

Theory of operation. Whatever ends a task puts it on the draft's agenda. Settling takes one at a
time: a failure becomes another attempt, the end of the run, or is let through; a success makes
the node's followers. When the agenda is empty, the JOINs, DO_WHILEs and DAGs that may have become
decidable are looked at, which may fill it again; when nothing is left and no task is live, the
run is complete. Nothing recurses. A decision that has taken SETTLE_STEPS_MAX steps, or used
SETTLE_ANSWERS_MAX answers, stops with a CONTINUE timer due at once: what is left is found again
from the records (an ended task whose ``is_executed`` is false), as it is after a pause, by
whatever command comes first.
"""

from batuta.core.draft import Draft
from batuta.core.ending import complete, fail_attempt, finish, is_let_through
from batuta.core.execution import CONTAINER_TYPES
from batuta.core.graph import Node
from batuta.core.scope import task_output
from batuta.core.tasks import begin
from batuta.core.tasks.branch import chosen_case
from batuta.core.tasks.dag.container import behind, check_dag
from batuta.core.tasks.join import check_exclusive_join, check_join, fail_stuck_join
from batuta.core.tasks.loop import check_loop
from batuta.core.tasks.terminate import end_of_run
from batuta.model.command import TimerKind
from batuta.model.execution import Origin, Task, TaskStatus, WorkflowStatus

SETTLE_STEPS_MAX = 500  # followers computed in one transaction; bounds its size and its time
# Each answer (a script's value) decides the command once more from its beginning: n in a row
# would cost n squared, and the committer refuses a command that asks too often.
SETTLE_ANSWERS_MAX = 8


def settle(draft: Draft) -> None:
    """Compute everything that follows the tasks on the agenda."""
    while not draft.workflow.status.is_terminal and not draft.wanted:
        if draft.workflow.status is WorkflowStatus.PAUSED:
            draft.agenda.clear()
            return
        if draft.agenda:
            task = draft.execution.tasks[draft.agenda[0]]
            is_full = draft.steps >= SETTLE_STEPS_MAX or len(draft.used) >= SETTLE_ANSWERS_MAX
            # No record says that the run has come to a skipped task: it is not left for later.
            if is_full and task.status is not TaskStatus.SKIPPED:
                draft.set_timer(TimerKind.CONTINUE, draft.now_ms)
                return
            draft.steps += 1
            draft.agenda.popleft()
            _follow(draft, task)
        elif not ((draft.checks and _check_containers(draft)) or _close(draft)):
            return


def schedule(draft: Draft, reference_name: str, suffix: str, origin: Origin | None = None) -> None:
    """Make the first attempt at a node, unless this iteration already has one.

    Args:
        origin: Of the task that it follows.
    """
    known = draft.execution.latest_task(reference_name + suffix)
    if known is not None:
        # Mostly the task before it was tried again by a retry of the run; OSS drops it too.
        if known.status is TaskStatus.SKIPPED and not known.is_executed:
            draft.agenda.appendleft(known.seq)  # next of all, see settle
        return
    graph = draft.execution.graph
    if origin is not None:
        origin = graph.home_of(origin, reference_name)
    begin(draft, graph.family(origin)[reference_name], suffix, origin=origin)


def gather(draft: Draft) -> None:
    """Put on the agenda what an interrupted or paused decision left. O(live tasks), rare."""
    execution = draft.execution
    draft.agenda.extend(sorted(execution.unexecuted))
    for task in execution.live_tasks():
        if task.task_type in CONTAINER_TYPES:
            draft.checks[task.seq] = None


def start(draft: Draft) -> None:
    """Schedule the first node; a definition without tasks is complete at once."""
    first = draft.execution.graph.first
    if first is None:
        finish(
            draft,
            WorkflowStatus.COMPLETED,
            reason="No tasks found to be executed",
        )
        return
    schedule(draft, first, "")


def _follow(draft: Draft, task: Task) -> None:
    """Deal with one ended task: another attempt, the end of the run, or its followers."""
    if task.is_retried or task.is_executed:
        return
    node = draft.execution.graph.node_of(task)
    status = task.status
    if not status.is_successful:
        if not is_let_through(draft, task, node):
            fail_attempt(draft, task, node)
            return
        status = TaskStatus.COMPLETED_WITH_ERRORS if node.policy.is_optional else status
    task = draft.put(task, status=status, is_executed=True)
    for join in draft.execution.waiting.get(task.reference_name, ()):
        draft.checks[join] = None
    if node.loops:
        # All of them: one may have ended before its tasks (a timeout that was let through).
        for loop in reversed(draft.execution.graph.loops_of(task)):
            seq = draft.execution.latest.get(loop)
            if seq is not None:  # else a rerun began with a task skipped before its loop was there
                draft.checks[seq] = None
    for dag in draft.execution.graph.dags_of(task):
        # Those around an inner DAG too: it may have failed before its nodes had ended.
        seq = draft.execution.latest.get(dag)
        if seq is not None and draft.execution.loop_live.get(dag, 0) == 0:
            draft.checks[seq] = None
    if node.type == "TERMINATE" and status is TaskStatus.COMPLETED:
        ending = end_of_run(draft, task)
        output = task_output(draft, task)
        finish(draft, ending.status, reason=ending.reason, output=output)
        return
    _schedule_followers(draft, task, node)


def _schedule_followers(draft: Draft, task: Task, node: Node) -> None:
    names = followers(draft, task, node)
    if node.owner is not None and node.owner.type == "DAG":
        names += behind(draft, task, node)
    for name in names:
        schedule(draft, name, task.suffix, task.origin)


def followers(draft: Draft, task: Task, node: Node) -> list[str]:
    """Return the definition's names of what runs next after an ended task.

    A skipped task is stepped over with all that is inside it.
    """
    found: list[str] = []
    if task.status is TaskStatus.SKIPPED:
        pass
    elif node.type == "FORK_JOIN":
        found = [branch[0].task_reference_name for branch in node.task.fork_tasks if branch]
    elif node.type in {"SWITCH", "DECISION"}:
        case = chosen_case(draft, task, node)
        if case:
            return [case[0].task_reference_name]
    after: Node | None = node
    # The end of a SWITCH's case goes on behind the SWITCH; of a branch or a loop body it does
    # not: a JOIN, a DO_WHILE and a DAG are checked when the agenda is empty.
    while after is not None:
        if after.then is not None:
            return [*found, after.then]
        owner = after.owner
        after = owner if owner is not None and owner.type in {"SWITCH", "DECISION"} else None
    return found


def _check_containers(draft: Draft) -> bool:
    """Decide the JOINs and loops that may have become decidable; say if any of them moved."""
    execution = draft.execution
    checks, draft.checks = list(draft.checks), {}
    has_moved = False
    for seq in checks:
        if draft.agenda:
            # What follows the JOIN that has just ended may be in this loop's pass: see to it first.
            draft.checks[seq] = None
            continue
        task = execution.tasks.get(seq)
        if task is None or task.status.is_terminal:
            continue
        if task.task_type == "JOIN":
            has_moved |= check_join(draft, task)
        elif task.task_type == "EXCLUSIVE_JOIN":
            has_moved |= check_exclusive_join(draft, task)
        elif task.task_type == "DAG":
            names = check_dag(draft, task)
            has_moved |= bool(names) or bool(draft.agenda)
            for name in names:
                schedule(draft, name, task.suffix, task.origin)
        elif execution.loop_live.get(task.reference_name, 0) == 0:
            following = check_loop(draft, task)
            has_moved = True
            if following is not None:
                schedule(draft, *following, task.origin)
    return has_moved or bool(draft.agenda)


def _close(draft: Draft) -> bool:
    """Complete the run when no task is live; fail a JOIN when only waiting ones are.

    Returns:
        True when the JOIN's end has given more to settle.
    """
    execution = draft.execution
    if execution.live_count == 0:
        complete(draft)
        return False
    if execution.active_count > 0 or any(task.due_at_ms for task in execution.live_tasks()):
        return False  # somebody works, or a DAG waits for the delay of an edge
    # A decision may have stopped before it looked at what is live, and a report of an ended task
    # have come before it goes on.
    draft.checks = {task.seq: None for task in execution.live_tasks()}
    if _check_containers(draft):
        return True
    # Only JOINs and loops are live and none of them can move: OSS waits for ever.
    fail_stuck_join(draft)
    return True
