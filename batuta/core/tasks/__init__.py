"""What each task type does: one file a family, one entry for all."""

from collections import deque
from collections.abc import Callable, Iterable

from batuta.core.draft import Draft
from batuta.core.graph import Node
from batuta.core.tasks import (
    branch,
    child,
    fork,
    join,
    loop,
    script,
    simple,
    terminate,
    variable,
    wait,
)
from batuta.core.tasks.attempt import Attempt
from batuta.core.tasks.dag import container
from batuta.core.tasks.dynamic import fan_out, single
from batuta.core.tasks.event import publish
from batuta.model.execution import Origin, Task

# What begins with a task and cannot wait for what follows it is answered: a dynamic branch.
_BEGIN: dict[str, Callable[[Draft, Attempt], Iterable[Attempt] | None]] = {
    "SWITCH": branch.begin_switch,
    "DECISION": branch.begin_decision,
    "FORK_JOIN": fork.begin,
    "JOIN": join.begin,
    "DO_WHILE": loop.begin,
    "DAG": container.begin,
    "SUB_WORKFLOW": child.begin,
    "WAIT": wait.begin,
    "SET_VARIABLE": variable.begin,
    "TERMINATE": terminate.begin,
    "EXCLUSIVE_JOIN": join.begin_exclusive,
    "DYNAMIC": single.begin,
    "FORK_JOIN_DYNAMIC": fan_out.begin,
    "START_WORKFLOW": child.begin_start,
    "HUMAN": wait.begin_human,
    "NOOP": wait.begin_noop,
    "INLINE": script.begin,
    "LAMBDA": script.begin,
    "JSON_JQ_TRANSFORM": script.begin,
    "EVENT": publish.begin,
    "KAFKA_PUBLISH": publish.begin_kafka,
}

# Tasks that may start late do so in two steps: created now, started by their ENQUEUE timer.
_START_LATE: dict[str, Callable[[Draft, Task], None]] = {
    "SUB_WORKFLOW": child.start,
    "WAIT": wait.start,
    "START_WORKFLOW": child.start_apart,
    "HUMAN": wait.start_human,
    "INLINE": script.start,
    "LAMBDA": script.start,
    "JSON_JQ_TRANSFORM": script.start,
    "EVENT": publish.start,
    "KAFKA_PUBLISH": publish.start_kafka,
}


def begin(
    draft: Draft,
    node: Node,
    suffix: str,
    *,
    retry_of: Task | None = None,
    delay_ms: int = 0,
    origin: Origin | None = None,
) -> None:
    """Make an attempt at a node: a task, and whatever its type does at once.

    Args:
        suffix: The loop suffix, ``""`` outside loops.
        retry_of: The attempt that failed; this one counts one higher.
        delay_ms: How long to wait before a worker may have it; jitter comes on top.
        origin: Where a node is defined that the run's definition does not have.
    """
    begin_attempt(draft, Attempt(node, suffix, retry_of, delay_ms, origin))


def begin_attempt(draft: Draft, attempt: Attempt) -> None:
    """Make an attempt, and those that are made with it: a dynamic fork's branches."""
    further = _BEGIN.get(attempt.node.type, simple.begin)(draft, attempt)
    if further is None:
        return
    waiting = deque(further)
    while waiting:
        attempt = waiting.popleft()
        waiting.extend(_BEGIN.get(attempt.node.type, simple.begin)(draft, attempt) or ())


def start_late(draft: Draft, task: Task) -> None:
    """Start a task whose delay is over: into its queue, or on its way."""
    node = draft.execution.graph.node_of(task)
    late = _START_LATE.get(node.type)
    if late is None:
        draft.enqueue(task, node.policy)
    else:
        late(draft, task)
