"""What each task type does: one file a family, one entry for all."""

from collections.abc import Callable

from batuta.core.draft import Draft
from batuta.core.graph import Node
from batuta.core.tasks import branch, child, fork, join, loop, simple, terminate, variable, wait
from batuta.core.tasks.attempt import Attempt
from batuta.model.execution import Task

_BEGIN: dict[str, Callable[[Draft, Attempt], None]] = {
    "SWITCH": branch.begin_switch,
    "DECISION": branch.begin_decision,
    "FORK_JOIN": fork.begin,
    "JOIN": join.begin,
    "DO_WHILE": loop.begin,
    "SUB_WORKFLOW": child.begin,
    "WAIT": wait.begin,
    "SET_VARIABLE": variable.begin,
    "TERMINATE": terminate.begin,
}

# Tasks that may start late do so in two steps: created now, started by their ENQUEUE timer.
_START_LATE: dict[str, Callable[[Draft, Task], None]] = {
    "SUB_WORKFLOW": child.start,
    "WAIT": wait.start,
}


def begin(
    draft: Draft, node: Node, suffix: str, *, retry_of: Task | None = None, delay_ms: int = 0
) -> None:
    """Make an attempt at a node: a task, and whatever its type does at once.

    Args:
        suffix: The loop suffix, ``""`` outside loops.
        retry_of: The attempt that failed; this one counts one higher.
        delay_ms: How long to wait before a worker may have it; jitter comes on top.
    """
    attempt = Attempt(node, suffix, retry_of, delay_ms)
    _BEGIN.get(node.type, simple.begin)(draft, attempt)


def start_late(draft: Draft, task: Task) -> None:
    """Start a task whose delay is over: into its queue, or on its way."""
    node = draft.execution.graph.node_of(task)
    late = _START_LATE.get(node.type)
    if late is None:
        draft.enqueue(task, node.policy)
    else:
        late(draft, task)
