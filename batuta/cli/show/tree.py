"""A run as a tree: the definition's shape with what has happened at each node."""

from collections.abc import Iterator
from typing import Any

import msgspec

from batuta.cli.show.style import Style, clean

_OPEN = frozenset({"SCHEDULED", "IN_PROGRESS"})
REASON_CHARACTERS_MAX = 100  # a line; the whole reason is in the run


class _Node(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the tree and what hangs below it."""

    text: str
    children: list["_Node"] = []


def tree_lines(run: dict[str, Any], now_ms: int, style: Style) -> list[str]:
    """Draw a run.

    Args:
        run: As `GET /api/workflow/{id}` answers it.
        now_ms: For the durations of what is still open.
    """
    tasks: dict[str, list[dict[str, Any]]] = {}
    for task in run.get("tasks") or []:
        tasks.setdefault(_node_name(task), []).append(task)
    definition = run.get("workflowDefinition") or {}
    nodes = _nodes(definition.get("tasks") or [], tasks, now_ms, style)
    lines = [headline(run, now_ms, style)]
    lines += [style.lines(prefix) + text for prefix, text in _drawn(nodes, "")]
    if run.get("reasonForIncompletion"):
        lines.append(style.paint(one_line(run["reasonForIncompletion"]), "red"))
    return lines


def headline(run: dict[str, Any], now_ms: int, style: Style) -> str:
    """Say in one line which run it is, how it stands, and how long it has taken."""
    status = str(run.get("status"))
    name = run.get("workflowName") or run.get("workflowType")
    took = duration(run.get("createTime"), run.get("endTime"), now_ms)
    return (
        f"{style.sign(status)} {style.paint(str(name), 'bold')}  {style.status(status)}"
        f"  {took}  {style.paint(str(run.get('workflowId')), 'dim')}"
    )


def task_line(task: dict[str, Any], now_ms: int, style: Style, *, has_status: bool = False) -> str:
    """Say in one line how a task stands."""
    status = task["status"]
    parts = [f"{style.sign(status)} {task['referenceTaskName']}"]
    if has_status:
        parts.append(style.status(status))
    if task.get("startTime") or status not in _OPEN:
        took = duration(task.get("startTime"), task.get("endTime"), now_ms)
        parts.append(style.paint(took, "dim"))
    if task.get("retryCount"):
        parts.append(style.paint(f"attempt {task['retryCount'] + 1}", "yellow"))
    if status == "SCHEDULED" and task.get("callbackAfterSeconds"):
        parts.append(style.paint(f"waits {task['callbackAfterSeconds']} s", "yellow"))
    elif task.get("reasonForIncompletion") and status not in ("COMPLETED", "IN_PROGRESS"):
        parts.append(style.paint(one_line(task["reasonForIncompletion"]), "red"))
    return "  ".join(parts)


def duration(start_ms: int | None, end_ms: int | None, now_ms: int) -> str:
    """Say how long something took, or takes until now."""
    if not start_ms:
        return "-"
    took_ms = max(0, (end_ms or now_ms) - start_ms)
    if took_ms < 1_000:
        return f"{took_ms} ms"
    if took_ms < 60_000:
        return f"{took_ms / 1000:.1f} s"
    minutes, seconds = divmod(took_ms // 1000, 60)
    return f"{minutes} min {seconds:02} s"


def _node_name(task: dict[str, Any]) -> str:
    name: str = task["referenceTaskName"]
    suffix = f"__{task.get('iteration')}"
    return name.removesuffix(suffix) if task.get("iteration") else name


def _nodes(
    definitions: list[dict[str, Any]],
    tasks: dict[str, list[dict[str, Any]]],
    now_ms: int,
    style: Style,
) -> list[_Node]:
    return [_node(definition, tasks, now_ms, style) for definition in definitions]


def _node(
    definition: dict[str, Any],
    tasks: dict[str, list[dict[str, Any]]],
    now_ms: int,
    style: Style,
) -> _Node:
    name = definition.get("taskReferenceName", "?")
    attempts = tasks.get(name, [])
    text = (
        task_line(attempts[-1], now_ms, style)
        if attempts
        else f"{style.sign(None)} {style.paint(name, 'dim')}"
    )
    is_settled = bool(attempts) and attempts[-1]["status"] not in _OPEN
    children = []
    for label, inner, is_choice in _branches(definition):
        if is_choice and is_settled and not _has_begun(inner, tasks):
            continue  # the way that was not taken
        below = _nodes(inner, tasks, now_ms, style)
        children += [_Node(text=style.paint(label, "dim"), children=below)] if label else below
    return _Node(text=text, children=children)


def _branches(definition: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]], bool]]:
    """Give what hangs below a node: its label, its tasks, and whether it is one way of several."""
    for case, branch in (definition.get("decisionCases") or {}).items():
        yield case, branch, True
    if definition.get("defaultCase"):
        yield "otherwise", definition["defaultCase"], True
    for number, branch in enumerate(definition.get("forkTasks") or [], 1):
        yield f"branch {number}", branch, False
    if definition.get("loopOver"):
        yield "", definition["loopOver"], False
    if definition.get("dagTasks"):
        yield "", definition["dagTasks"], False


def _has_begun(definitions: list[dict[str, Any]], tasks: dict[str, list[dict[str, Any]]]) -> bool:
    return any(definition.get("taskReferenceName") in tasks for definition in definitions)


def _drawn(nodes: list[_Node], indent: str) -> Iterator[tuple[str, str]]:
    for number, node in enumerate(nodes, 1):
        is_last = number == len(nodes)
        yield indent + ("└─ " if is_last else "├─ "), node.text
        yield from _drawn(node.children, indent + ("   " if is_last else "│  "))


def one_line(text: str) -> str:
    """Return a text of others as it fits into a line."""
    line = clean(" ".join(str(text).split()))
    return line if len(line) <= REASON_CHARACTERS_MAX else line[: REASON_CHARACTERS_MAX - 3] + "..."
