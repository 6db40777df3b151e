"""Which timers a task has, so that whatever ends it clears them, and no other row is touched."""

from batuta.core.draft import Draft
from batuta.core.policy import Policy
from batuta.model.command import TimerKind
from batuta.model.definition import TaskTimeoutPolicy
from batuta.model.execution import Task, TaskStatus


def clear_timers(draft: Draft, task: Task, policy: Policy) -> None:
    """Remove every timer that a live task may have."""
    if task.due_at_ms:
        kind = TimerKind.ENQUEUE if task.status is TaskStatus.SCHEDULED else TimerKind.WAIT
        draft.clear_timer(kind, task)
    if policy.timeout_policy is TaskTimeoutPolicy.ALERT_ONLY:
        return
    if policy.poll_timeout_ms and task.queue is not None:
        draft.clear_timer(TimerKind.POLL_TIMEOUT, task)
    if policy.total_timeout_ms:
        draft.clear_timer(TimerKind.TOTAL_TIMEOUT, task)
    if policy.timeout_ms and (task.queue is None or task.poll_count):
        draft.clear_timer(TimerKind.TASK_TIMEOUT, task)


def set_limits(draft: Draft, task: Task, policy: Policy, *, delay_ms: int = 0) -> None:
    """Set the timers of a new attempt's limits; none for most tasks.

    The time between poll and answer needs no timer: the lease ends by itself. ALERT_ONLY limits
    end nothing, so they have no timer either. Source: semantics.md d.3, d.4.
    """
    if policy.timeout_policy is TaskTimeoutPolicy.ALERT_ONLY:
        return
    if policy.poll_timeout_ms and task.queue is not None:
        due_at_ms = draft.now_ms + delay_ms + policy.poll_timeout_ms
        draft.set_timer(TimerKind.POLL_TIMEOUT, due_at_ms, task)
    if policy.total_timeout_ms:
        due_at_ms = task.first_scheduled_at_ms + policy.total_timeout_ms
        draft.set_timer(TimerKind.TOTAL_TIMEOUT, due_at_ms, task)
    if policy.timeout_ms and task.queue is None:
        draft.set_timer(TimerKind.TASK_TIMEOUT, draft.now_ms + delay_ms + policy.timeout_ms, task)
