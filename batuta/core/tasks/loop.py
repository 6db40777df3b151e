"""DO_WHILE: its tasks again and again while a condition holds, or once for each item of a list.

Children of pass n are named ``ref__n``; in a loop inside a loop ``ref__n__m``. A pass is over
when none of its tasks is live and nothing follows (the index ``Execution.loop_live``). The
loop's output is put together once, when it ends; before that it holds what the loop's own tasks
may read of it (``Node.published``). Source: semantics.md c.5.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from batuta.core.condition import Refused, evaluate
from batuta.core.draft import Draft
from batuta.core.execution import Execution
from batuta.core.expression.template import TemplateError
from batuta.core.graph import Node, Published
from batuta.core.scope import RunScope, task_input, task_output
from batuta.core.tasks.attempt import Attempt, create, resolve_input, set_limits
from batuta.model.change import RetireTask
from batuta.model.execution import Origin, Task, TaskStatus
from batuta.model.payload import EMPTY, Payload

_OUTPUT_READS_MAX = 1_024  # loop conditions whose reading of the loop's output is remembered


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the loop; settling begins its first pass."""
    task = create(
        draft,
        attempt,
        status=TaskStatus.IN_PROGRESS,
        started_at_ms=draft.now_ms,
        iteration=0,
    )
    if task is not None:
        set_limits(draft, task, attempt.node.policy)
        draft.checks[task.seq] = None


def check_loop(draft: Draft, task: Task) -> tuple[str, str] | None:
    """Begin the next pass or end the loop, now that no task of the current pass is live.

    Returns:
        The reference name and suffix to schedule; None when the loop has ended.
    """
    node = draft.execution.graph.node_of(task)
    failed = _failed_child(draft, task)
    if failed is not None:
        reason = f"Task {failed.reference_name} failed with status: {failed.status}"
        reason += f" and reason: '{failed.reason or ''}'"
        draft.end(task, TaskStatus.FAILED, output=loop_output(draft, task), reason=reason)
        return None
    _drop_old_passes(draft, task)
    has_next = _has_next(draft, task)
    if isinstance(has_next, Refused):
        status = TaskStatus.FAILED_WITH_TERMINAL_ERROR
        draft.end(task, status, output=loop_output(draft, task), reason=has_next.message)
        return None
    if not has_next or not node.task.loop_over:
        draft.end(task, TaskStatus.COMPLETED, output=loop_output(draft, task))
        return None
    _publish(draft, draft.put(task, iteration=task.iteration + 1))
    task = draft.execution.tasks[task.seq]
    return node.task.loop_over[0].task_reference_name, f"{task.suffix}__{task.iteration}"


def go_back(draft: Draft, task: Task, number: int) -> None:
    """Have an open loop go on in an earlier pass; before it, when nothing of that is left."""
    suffix = f"{task.suffix}__{number}"
    execution = draft.execution
    is_begun = any(
        execution.latest_task(node.reference_name + suffix) is not None
        for node in members_of_pass(execution, task.node_name, task.origin, suffix)
    )
    iteration = number if is_begun else number - 1
    _publish(draft, draft.put(task, iteration=iteration, output=EMPTY))
    draft.checks[task.seq] = None


def _publish(draft: Draft, task: Task) -> None:
    """Give a loop under way the output that its own tasks and its condition read of it."""
    node = draft.execution.graph.node_of(task)
    if node.published is Published.PASSES:
        draft.put(task, output=loop_output(draft, task))
    elif node.published is Published.STATE:
        draft.put(task, output=Payload.of(_state(draft, task)))


def loop_output(draft: Draft, task: Task) -> Payload:
    """Return ``{"iteration": n, "1": {child: output}, ...}``; keepLastN leaves the last ones."""
    execution = draft.execution
    output = _state(draft, task)
    first = max(task.iteration - (_kept(draft, task) or task.iteration), 0) + 1
    for number in range(first, task.iteration + 1):
        suffix = f"{task.suffix}__{number}"
        of_pass = {}
        for node in members_of_pass(execution, task.node_name, task.origin, suffix):
            child = execution.latest_task(node.reference_name + suffix)
            if child is not None:
                of_pass[node.reference_name] = msgspec.Raw(task_output(draft, child).raw or b"{}")
        output[str(number)] = of_pass
    return Payload.of(output)


def _failed_child(draft: Draft, task: Task) -> Task | None:
    """Return the first task of the pass that failed and was let through by ``permissive``."""
    suffix = f"{task.suffix}__{task.iteration}"
    execution = draft.execution
    nodes: Iterable[Node] = execution.graph.permissive
    if task.origin is not None or execution.graph.dynamic_forks:
        nodes = members_of_pass(execution, task.node_name, task.origin, suffix)
    for node in nodes:
        if task.node_name in node.loops and node.policy.is_permissive:
            child = execution.latest_task(node.reference_name + suffix)
            if child is not None and not child.status.is_successful:
                return child
    return None


def members_of_pass(
    execution: Execution, loop: str, origin: Origin | None, suffix: str
) -> Iterator[Node]:
    """Yield the nodes inside a loop, those of dynamic branches included that this pass has made.

    A dynamic fork comes after its branches.
    """
    for node in execution.graph.members_of(loop, origin):
        if node.type == "FORK_JOIN_DYNAMIC":
            yield from _branches_of_pass(execution, node, suffix)
        yield node


def _branches_of_pass(execution: Execution, fork: Node, suffix: str) -> Iterator[Node]:
    join = execution.latest_task((fork.then or "") + suffix)
    for name in join.join_on if join is not None else ():
        root = execution.latest_task(name)
        if root is None or root.origin is None:
            continue
        for node in execution.graph.family(root.origin).values():
            if node.type == "FORK_JOIN_DYNAMIC":
                yield from _branches_of_pass(execution, node, suffix)
            yield node


def _has_next(draft: Draft, task: Task) -> bool | Refused:
    """Say whether another pass follows: there is an item for it, and the condition holds."""
    node = draft.execution.graph.node_of(task)
    if node.items_template is not None:
        try:
            items = _items(draft, task)
        except TemplateError as error:
            return Refused(f"Unable to resolve the items: {error}")
        if task.iteration >= len(items):
            return False
        if not (node.task.loop_condition or "").strip():
            return True
    if task.iteration == 0:
        return True
    verdict = _condition(draft, task)
    if isinstance(verdict, Refused):
        condition = node.task.loop_condition
        return Refused(f"Unable to evaluate condition {condition!r}: {verdict.message}")
    return _is_truthy(verdict)


def _items(draft: Draft, task: Task) -> list[Any]:
    """Return the items as they are now; a single value is one item, null is none."""
    template = draft.execution.graph.node_of(task).items_template
    assert template is not None, "only a loop over items asks for them"
    found = template.resolve(RunScope(draft, task.task_id))
    if isinstance(found, msgspec.Raw):
        found = msgspec.json.decode(found)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _state(draft: Draft, task: Task) -> dict[str, Any]:
    """Return where the loop is: ``iteration``, in a list ``loopIndex`` and ``loopItem`` too."""
    state: dict[str, Any] = {"iteration": task.iteration}
    node = draft.execution.graph.node_of(task)
    if node.items_template is None or task.iteration == 0:
        return state
    try:
        items = _items(draft, task)
    except TemplateError:
        return state  # the loop has failed by this
    index = task.iteration - 1
    # The list may have become shorter meanwhile: it is resolved again in each pass.
    return {**state, "loopIndex": index, "loopItem": items[index] if index < len(items) else None}


def _kept(draft: Draft, task: Task) -> int:
    """Return keepLastN, 0 when all passes are kept."""
    values = task_input(draft, task).value
    kept = values.get("keepLastN") if isinstance(values, dict) else None
    return kept if type(kept) is int and kept > 0 else 0


def _drop_old_passes(draft: Draft, task: Task) -> None:
    """Retire the tasks of the pass that keepLastN does not keep any more (gotchas.md 34)."""
    kept = _kept(draft, task)
    if kept and task.iteration > kept:
        old = f"{task.suffix}__{task.iteration - kept}"
        for child in list(_attempts_of_pass(draft, task.node_name, task.origin, old)):
            draft.note(RetireTask(child.seq))


def _attempts_of_pass(
    draft: Draft, loop: str, origin: Origin | None, suffix: str
) -> Iterator[Task]:
    """Yield every attempt made in a pass, newest first, those of loops inside it included."""
    execution = draft.execution
    for node in members_of_pass(execution, loop, origin, suffix):
        if node.loops[-1] != loop:
            continue  # of a loop inside, which yields it
        name = node.reference_name
        newest = child = execution.latest_task(name + suffix)
        if node.type == "DO_WHILE":
            # One that ran no pass, or was not reached, may have had a task of its first skipped.
            last, home = (0, origin) if newest is None else (newest.iteration, newest.origin)
            for number in range(1, max(last, 1) + 1):
                yield from _attempts_of_pass(draft, name, home, f"{suffix}__{number}")
        while child is not None:
            yield child
            child = execution.task(child.retried_task_id or "")


def _condition(draft: Draft, task: Task) -> Any:
    """Evaluate loopCondition: its inputs, the loop's output and its children's are ``$``."""
    execution = draft.execution
    node = execution.graph.node_of(task)
    source = node.task.loop_condition or ""
    if node.condition_reads is not Published.NOTHING:
        _publish(draft, task)  # this pass with it
    try:
        values = dict(resolve_input(draft, node, task.task_id).value)
    except TemplateError as error:
        return Refused(str(error))
    suffix = f"{task.suffix}__{task.iteration}"
    for member in members_of_pass(execution, task.node_name, task.origin, suffix):
        seq = execution.latest_of_node.get(member.reference_name)
        # Only what the condition names is given to it: outputs may be large.
        if seq is not None and member.reference_name in source:
            values[member.reference_name] = task_output(draft, execution.tasks[seq]).value
    if _reads_passes(source, task.node_name):
        values[task.node_name] = loop_output(draft, task).value
    else:
        values[task.node_name] = _state(draft, task)
    return evaluate(draft, source, values)


@lru_cache(_OUTPUT_READS_MAX)
def _reads_passes(source: str, loop: str) -> bool:
    """Say whether a condition reads more of the loop's output than its iteration.

    Gathering every pass for every condition would make a loop of n passes cost n squared.
    """
    uses = len(re.findall(re.escape(loop), source))
    counted = len(
        re.findall(re.escape(loop) + r"""['"]?\]?(?:\.iteration\b|\[['"]iteration['"]\])""", source)
    )
    return uses > counted


def _is_truthy(value: Any) -> bool:
    """Go on for true and for numbers above zero; anything else ends the loop."""
    if isinstance(value, bool):
        return value
    return isinstance(value, int | float) and value > 0
