"""The DAG task itself: it is open while its nodes run, and ends as they have ended."""

from batuta.core.draft import Draft
from batuta.core.graph import Node
from batuta.core.tasks.attempt import Attempt, create, set_limits
from batuta.core.tasks.dag.way import Ahead, is_undecided, look
from batuta.core.tasks.join import end_as
from batuta.model.command import TimerKind
from batuta.model.execution import Task, TaskStatus


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the DAG, in progress; settling begins the nodes that nothing leads to."""
    task = create(draft, attempt, status=TaskStatus.IN_PROGRESS, started_at_ms=draft.now_ms)
    if task is not None:
        set_limits(draft, task, attempt.node.policy)
        draft.checks[task.seq] = None


def check_dag(draft: Draft, task: Task) -> tuple[str, ...]:
    """Look at all nodes of a DAG; end it when none runs, may run or waits for a delay.

    Returns:
        The definition's names of the nodes to schedule; none when it has ended or has to wait.
    """
    ways = draft.execution.graph.node_of(task).ways
    assert ways is not None, "only a DAG has ways"
    ahead = look(draft, task, ways.order)
    if _is_refused(draft, task, ahead):
        return ()
    if ahead.due_at_ms:
        task = draft.put(task, due_at_ms=ahead.due_at_ms)
        draft.set_timer(TimerKind.WAIT, ahead.due_at_ms, task)
    elif task.due_at_ms:
        draft.clear_timer(TimerKind.WAIT, task)
        task = draft.put(task, due_at_ms=0)
    is_idle = draft.execution.loop_live.get(task.reference_name, 0) == 0
    if is_idle and not ahead.ready and not ahead.due_at_ms:
        _end(draft, task, ways.order)
    return ahead.ready


def behind(draft: Draft, task: Task, node: Node) -> tuple[str, ...]:
    """Return the names of the nodes that may run now that one has ended, and note what waits."""
    owner = node.owner
    assert owner is not None, "a node of a DAG belongs to it"
    holder = draft.execution.latest_task(owner.reference_name + task.suffix)
    # A DAG may have ended before its nodes: a timeout that was let through.
    if holder is None or holder.status.is_terminal or owner.ways is None:
        return ()
    edges = owner.ways.out.get(node.reference_name, ())
    ahead = look(draft, holder, [edge.target for edge in edges])
    if _is_refused(draft, holder, ahead):
        return ()
    if ahead.due_at_ms and not 0 < holder.due_at_ms <= ahead.due_at_ms:
        holder = draft.put(holder, due_at_ms=ahead.due_at_ms)
        draft.set_timer(TimerKind.WAIT, ahead.due_at_ms, holder)
    if draft.execution.loop_live.get(holder.reference_name, 0) == 0:
        draft.checks[holder.seq] = None
    return ahead.ready


def wake(draft: Draft, task: Task) -> None:
    """Look at the nodes of a DAG again, now that the delay of an edge is over."""
    draft.clear_timer(TimerKind.WAIT, task)
    draft.put(task, due_at_ms=0)
    draft.checks[task.seq] = None


def _is_refused(draft: Draft, task: Task, ahead: Ahead) -> bool:
    """End the DAG when the condition of an edge gave nothing; say whether it has."""
    if ahead.refused is None:
        return False
    draft.end(task, TaskStatus.FAILED_WITH_TERMINAL_ERROR, reason=ahead.refused)
    return True


def _end(draft: Draft, task: Task, order: tuple[str, ...]) -> None:
    lost = [name for name in order if is_undecided(draft.execution, task, name)]
    if lost:
        # Only of a definition that nobody has judged: one that was made at run time.
        reason = f"nodes {lost!r} lead to one another, or an edge comes from no node; correct it"
        draft.end(task, TaskStatus.FAILED_WITH_TERMINAL_ERROR, reason=reason)
        return
    # What an operator gave a node that was left out in the end stays with that node.
    names = [name + task.suffix for name in order]
    nodes = {name: draft.execution.latest_task(name) for name in names}
    end_as(draft, task, [n for n, one in nodes.items() if one is None or not one.is_left_out])
