"""Skip a task before the run comes to it. Source: semantics.md f, gotchas.md 7, 49."""

import re

from batuta.core.draft import Draft
from batuta.core.graph import Node
from batuta.model.command import SkipTask
from batuta.model.error import ConflictError, Fault, InvalidError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY

_PASS = re.compile(r"__[1-9][0-9]{0,8}")


def skip_task(draft: Draft, command: SkipTask) -> None:
    """Make the task SKIPPED, with the input and output given; the run steps over it in its turn.

    What is inside a skipped SWITCH, fork or loop is stepped over with it; the JOIN behind a
    fork is not.

    Raises:
        ConflictError: The run is not RUNNING, or it has come to the task already.
        InvalidError: The definition has no such task, or not in this pass of its loop.
    """
    workflow, name = draft.workflow, command.reference_name
    if workflow.status is not WorkflowStatus.RUNNING:
        raise ConflictError(
            f"workflow {workflow.workflow_id!r} is {workflow.status}; only in a RUNNING one a "
            "task can be skipped"
        )
    node, suffix = _place(draft, name)
    known = draft.execution.latest_task(name)
    if known is not None:
        raise ConflictError(f"task {name!r} is {known.status} already; it cannot be skipped")
    task = draft.add(
        node,
        suffix,
        command.input or EMPTY,
        task_id=draft.new_id(),
        task_type=node.task.name,
        status=TaskStatus.SKIPPED,
        first_scheduled_at_ms=draft.now_ms,
        started_at_ms=draft.now_ms,
        ended_at_ms=draft.now_ms,
        iteration=int(suffix.rsplit("__", 1)[1]) if suffix else 0,
    )
    draft.put(task, output=command.output or EMPTY)


def _place(draft: Draft, name: str) -> tuple[Node, str]:
    """Return the node of a reference name and its loop suffix; refuse a pass that is not now.

    A pass after the current one would be what ``${ref.output}`` means at once.
    """
    nodes = draft.execution.graph.nodes
    node = nodes.get(name)
    bare = name
    while node is None and (found := re.search(rf"{_PASS.pattern}$", bare)) is not None:
        bare = bare[: found.start()]
        node = nodes.get(bare)
    if node is None:
        raise _refusal(name, f"the definition {draft.workflow.name!r} has no task {name!r}")
    now = ""
    for loop in node.loops:
        task = draft.execution.latest_task(loop + now)
        now += f"__{max(task.iteration, 1) if task is not None else 1}"
    suffix = name[len(bare) :]
    if suffix != now:
        raise (
            _refusal(
                name,
                f"{bare!r} is in loop {node.loops[-1]!r}; it can be skipped as {bare + now!r} now",
            )
            if node.loops
            else _refusal(name, f"{bare!r} is in no loop; skip it by that name")
        )
    return node, suffix


def _refusal(name: str, message: str) -> InvalidError:
    text = f"taskReferenceName: {message}"
    return InvalidError(text, [Fault("taskReferenceName", message, name)])
