"""Which timers a live task has, so that whatever ends it clears them and touches no other row."""

from collections.abc import Iterator

from batuta.core.limits.policy import Policy
from batuta.model.command import TimerKind
from batuta.model.execution import Task, TaskStatus


def kinds_of(task: Task, policy: Policy) -> Iterator[TimerKind]:
    """Yield the kinds of timers that a live task may have; none for most tasks.

    The time between poll and answer needs no timer: the lease ends by itself. ALERT_ONLY limits
    end nothing, so they have no timer either.
    """
    if task.due_at_ms:
        is_delayed = task.status is TaskStatus.SCHEDULED
        yield TimerKind.ENQUEUE if is_delayed else TimerKind.WAIT
    if not policy.has_timers:
        return
    if policy.poll_timeout_ms and task.queue is not None:
        yield TimerKind.POLL_TIMEOUT
    if policy.total_timeout_ms:
        yield TimerKind.TOTAL_TIMEOUT
    # A worker task has one only after it was given back once.
    if policy.timeout_ms and (task.queue is None or task.poll_count):
        yield TimerKind.TASK_TIMEOUT


def earliest_ms(kind: TimerKind, task: Task, policy: Policy) -> int:
    """Return the time before which a limit of a task is not over, by what the task says itself.

    A node may have kept in memory a timer that another node has replaced by a later one, since
    the task was opened again.
    """
    if kind is TimerKind.TOTAL_TIMEOUT:
        return task.first_scheduled_at_ms + policy.total_timeout_ms
    if kind is TimerKind.TASK_TIMEOUT and task.queue is not None:
        return task.started_at_ms + policy.timeout_ms
    if kind is TimerKind.TASK_TIMEOUT:
        # Of an attempt the first one's time is the older of the two; of one that was opened again
        # in place it is the time of that.
        return max(task.scheduled_at_ms, task.first_scheduled_at_ms) + policy.timeout_ms
    return 0
