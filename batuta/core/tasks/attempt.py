"""What all task types share when an attempt is made: its fields, input and delay."""

from typing import Any

import msgspec

from batuta.core.draft import Draft
from batuta.core.expression.template import TemplateError
from batuta.core.graph import Node
from batuta.core.limits.policy import Policy
from batuta.core.scope import RunScope, task_input
from batuta.model.command import TimerKind
from batuta.model.execution import Origin, Task, TaskStatus
from batuta.model.payload import Payload


class Attempt(msgspec.Struct, frozen=True):
    """A node to be attempted: where, after which failure, how late."""

    node: Node
    suffix: str
    retry_of: Task | None = None
    delay_ms: int = 0
    origin: Origin | None = None
    """Of a node that is defined by the run; a retry has that of the attempt before."""
    given_input: Payload | None = None
    """The input of a branch made at run time, when it holds no expression."""
    joins: tuple[str, ...] | None = None
    """What the JOIN of a dynamic fork waits for, full names."""
    replaces: str | None = None
    """The id of the task in whose place this one comes: where its input named itself, so does
    this one's."""


def create(
    draft: Draft,
    attempt: Attempt,
    *,
    status: TaskStatus = TaskStatus.SCHEDULED,
    task_type: str | None = None,
    extra_input: dict[str, Any] | None = None,
    task_id: str | None = None,
    is_id_literal: bool = False,
    **fields: Any,
) -> Task | None:
    """Add the attempt's task with its input resolved.

    A retry keeps the reason of the attempt before and resolves its input anew (gotchas.md 27).

    Args:
        extra_input: Keys the engine adds to the input (a SWITCH's ``case``, ...).
        task_id: Its id when the caller needed one before; else it gets a new one.
        is_id_literal: Leave ``${CPEWF_TASK_ID}`` in the input, for tasks made of it to resolve.

    Returns:
        The task; None when its template exceeds a limit, it has then failed.
    """
    node, before = attempt.node, attempt.retry_of
    task_id = task_id or draft.new_id()
    error: str | None = None
    try:
        seen_id = None if is_id_literal else task_id
        resolved = input_of(draft, attempt, seen_id, extra_input)
    except TemplateError as exceeded:
        error = str(exceeded)
        resolved = Payload.of({})
    task = draft.add(
        node,
        attempt.suffix,
        resolved,
        task_id=task_id,
        task_type=task_type or node.type,
        status=status,
        first_scheduled_at_ms=before.first_scheduled_at_ms if before else draft.now_ms,
        **{**_lineage(attempt), **fields},
    )
    if error is not None:
        draft.end(task, TaskStatus.FAILED_WITH_TERMINAL_ERROR, reason=error)
        return None
    return task


def _lineage(attempt: Attempt) -> dict[str, Any]:
    """Return what a task has of the attempt before it, of what made it and of its pass."""
    fields: dict[str, Any] = {}
    before = attempt.retry_of
    if before is not None:
        fields["retry_count"] = before.retry_count + 1
        fields["retried_task_id"] = before.task_id
        fields["reason"] = before.reason
    origin = attempt.origin or (before.origin if before is not None else None)
    if origin is not None:
        fields["origin"] = origin
    if attempt.suffix:
        fields["iteration"] = int(attempt.suffix.rsplit("__", 1)[1])
    return fields


def input_of(
    draft: Draft, attempt: Attempt, task_id: str | None, extra: dict[str, Any] | None = None
) -> Payload:
    """Return an attempt's input: the one it was given, or its node's parameters resolved.

    Raises:
        TemplateError: A template exceeds a limit.
    """
    given, before = attempt.given_input, attempt.retry_of
    if given is None and before is not None and before.origin is not None:
        given = _given_before(draft, attempt.node, before)
    if given is None:
        return resolve_input(draft, attempt.node, task_id, extra)
    if attempt.replaces and task_id and given.raw:
        given = Payload(given.raw.replace(attempt.replaces.encode(), task_id.encode()))
    return Payload.of({**given.value, **extra}) if extra else given


def _given_before(draft: Draft, node: Node, before: Task) -> Payload | None:
    """Return what the first attempt at a branch's root was given; None when it has a template."""
    origin = before.origin
    if origin is None or node.task.input_parameters or before.node_name != origin.root:
        return None
    whole = task_input(draft, before)
    if node.type != "SUB_WORKFLOW":
        return whole
    return Payload.of(whole.value.get("workflowInput") or {})


def resolve_input(
    draft: Draft, node: Node, task_id: str | None, extra: dict[str, Any] | None = None
) -> Payload:
    """Return the node's input parameters with their expressions resolved.

    The task definition's inputTemplate fills keys that are missing and keys that resolved to
    null. Source: semantics.md e.
    """
    if extra is None and node.constant_input is not None:
        return node.constant_input
    scope = RunScope(draft, task_id)
    values = node.input_template.resolve(scope)
    if node.default_template is not None:
        defaults = node.default_template.resolve(scope)
        values = {**values, **{k: v for k, v in defaults.items() if values.get(k) is None}}
    return Payload.of({**values, **extra} if extra else values)


def start_or_delay(draft: Draft, task: Task, attempt: Attempt) -> bool:
    """Set the attempt's limits; hold it back when it has a delay.

    Returns:
        True when the task may start now; else its ENQUEUE timer starts it.
    """
    policy = attempt.node.policy
    if attempt.retry_of:
        delay_ms = attempt.delay_ms + draft.jitter_ms(policy.backoff_jitter_ms)
    else:
        delay_ms = policy.start_delay_ms
    set_limits(draft, task, policy, delay_ms=delay_ms)
    if delay_ms <= 0:
        return True
    due_at_ms = draft.now_ms + delay_ms
    draft.set_timer(TimerKind.ENQUEUE, due_at_ms, draft.put(task, due_at_ms=due_at_ms))
    return False


def set_limits(draft: Draft, task: Task, policy: Policy, *, delay_ms: int = 0) -> None:
    """Set the timers of a new attempt's limits; none for most tasks (see ``kinds_of``).

    Source: semantics.md d.3, d.4.
    """
    if not policy.has_timers:
        return
    if policy.poll_timeout_ms and task.queue is not None:
        due_at_ms = draft.now_ms + delay_ms + policy.poll_timeout_ms
        draft.set_timer(TimerKind.POLL_TIMEOUT, due_at_ms, task)
    if policy.total_timeout_ms:
        due_at_ms = task.first_scheduled_at_ms + policy.total_timeout_ms
        draft.set_timer(TimerKind.TOTAL_TIMEOUT, due_at_ms, task)
    if policy.timeout_ms and task.queue is None:
        draft.set_timer(TimerKind.TASK_TIMEOUT, draft.now_ms + delay_ms + policy.timeout_ms, task)


def delay_fields(attempt: Attempt) -> dict[str, Any]:
    """Return what a delayed task says of its delay; jitter is not in it (semantics.md d.1)."""
    start_delay_ms = attempt.node.policy.start_delay_ms
    delay_ms = attempt.delay_ms if attempt.retry_of else start_delay_ms
    return {"callback_after_ms": delay_ms, "start_delay_ms": delay_ms} if delay_ms else {}
