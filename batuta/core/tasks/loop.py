"""DO_WHILE: its tasks again and again while a condition holds.

Children of pass n are named ``ref__n``; in a loop inside a loop ``ref__n__m``. A pass is over
when none of its tasks is live and nothing follows (the index ``Execution.loop_live``). The
loop's output is put together once, when it ends. Source: semantics.md c.5.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

from batuta.core.condition import Refused, evaluate
from batuta.core.draft import Draft
from batuta.core.expression.template import TemplateError
from batuta.core.scope import task_output
from batuta.core.tasks.attempt import Attempt, create, resolve_input, set_limits
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import Payload

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
    if task.iteration > 0:
        verdict = _condition(draft, task)
        if isinstance(verdict, Refused):
            reason = f"Unable to evaluate condition {node.task.loop_condition!r}: {verdict.message}"
            status = TaskStatus.FAILED_WITH_TERMINAL_ERROR
            draft.end(task, status, output=loop_output(draft, task), reason=reason)
            return None
        if not _is_truthy(verdict):
            draft.end(task, TaskStatus.COMPLETED, output=loop_output(draft, task))
            return None
    if not node.task.loop_over:
        draft.end(task, TaskStatus.COMPLETED, output=loop_output(draft, task))
        return None
    task = draft.put(task, iteration=task.iteration + 1)
    return node.task.loop_over[0].task_reference_name, f"{task.suffix}__{task.iteration}"


def loop_output(draft: Draft, task: Task) -> Payload:
    """Return ``{"iteration": n, "1": {child: output}, ...}``."""
    return Payload.of(_passes(draft, task))


def _failed_child(draft: Draft, task: Task) -> Task | None:
    """Return the first task of the pass that failed and was let through by ``permissive``."""
    suffix = f"{task.suffix}__{task.iteration}"
    for node in draft.execution.graph.permissive:
        if task.node_name in node.loops:
            child = draft.execution.latest_task(node.reference_name + suffix)
            if child is not None and not child.status.is_successful:
                return child
    return None


def _passes(draft: Draft, task: Task) -> dict[str, Any]:
    execution = draft.execution
    members = [node.reference_name for node in execution.graph.members_of(task.node_name)]
    output: dict[str, Any] = {"iteration": task.iteration}
    for number in range(1, task.iteration + 1):
        suffix = f"{task.suffix}__{number}"
        of_pass = {}
        for name in members:
            child = execution.latest_task(name + suffix)
            if child is not None:
                raw = task_output(draft, child).raw
                of_pass[name] = msgspec.Raw(raw or b"{}")
        output[str(number)] = of_pass
    return output


def _condition(draft: Draft, task: Task) -> Any:
    """Evaluate loopCondition: its inputs, the loop's output and its children's are ``$``."""
    execution = draft.execution
    node = execution.graph.node_of(task)
    source = node.task.loop_condition or ""
    try:
        values = dict(resolve_input(draft, node, task.task_id).value)
    except TemplateError as error:
        return Refused(str(error))
    for member in execution.graph.members_of(task.node_name):
        seq = execution.latest_of_node.get(member.reference_name)
        # Only what the condition names is given to it: outputs may be large.
        if seq is not None and member.reference_name in source:
            values[member.reference_name] = task_output(draft, execution.tasks[seq]).value
    if _reads_passes(source, task.node_name):
        values[task.node_name] = loop_output(draft, task).value
    else:
        values[task.node_name] = {"iteration": task.iteration}
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
