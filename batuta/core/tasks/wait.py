"""Tasks without work: WAIT until a time or a report, HUMAN until a report, NOOP not at all.

Source: semantics.md c.9.
"""

from typing import Any

from batuta.core.definition.durations import parse_duration_ms, parse_until_ms
from batuta.core.draft import Draft
from batuta.core.scope import task_input
from batuta.core.tasks.attempt import Attempt, create, delay_fields, start_or_delay
from batuta.model.command import TimerKind
from batuta.model.error import InvalidError
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import EMPTY

SECOND_MS = 1_000


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the WAIT and start its time, now or after its delay."""
    task = create(draft, attempt, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start(draft, task)


def start(draft: Draft, task: Task) -> None:
    """Begin to wait: with a timer when the input limits the time."""
    values = task_input(draft, task).value
    try:
        due_at_ms = _due_at_ms(values, draft.now_ms)
    except (ValueError, InvalidError) as error:
        status = TaskStatus.FAILED_WITH_TERMINAL_ERROR
        draft.end(task, status, started_at_ms=draft.now_ms, reason=str(error))
        return
    draft.put(
        task,
        status=TaskStatus.IN_PROGRESS,
        started_at_ms=draft.now_ms,
        due_at_ms=due_at_ms,
    )
    if due_at_ms:
        draft.set_timer(TimerKind.WAIT, due_at_ms, task)


def begin_human(draft: Draft, attempt: Attempt) -> None:
    """Create a HUMAN task, open until somebody reports on it; only its limits end it sooner."""
    task = create(draft, attempt, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start_human(draft, task)


def start_human(draft: Draft, task: Task) -> None:
    """Open a HUMAN task, now that its delay is over."""
    draft.put(task, status=TaskStatus.IN_PROGRESS, started_at_ms=draft.now_ms)


def begin_noop(draft: Draft, attempt: Attempt) -> None:
    """Complete a NOOP at once."""
    task = create(draft, attempt, started_at_ms=draft.now_ms)
    if task is not None:
        draft.end(task, TaskStatus.COMPLETED)


def is_over(draft: Draft, task: Task) -> None:
    """End a WAIT whose time has come; what somebody reported meanwhile stays its output."""
    output = draft.execution.outputs.get(task.seq)
    draft.end(task, TaskStatus.COMPLETED, output=None if output else EMPTY)


def _due_at_ms(values: dict[str, Any], now_ms: int) -> int:
    """Return when the WAIT ends, 0 for never.

    ``waitTime`` (seconds) is what the firmware definitions say for duration (sources S2.2).
    """
    duration, until = values.get("duration"), values.get("until")
    if duration and until:
        raise ValueError("a WAIT has both duration and until; give one of them")
    if duration:
        return now_ms + parse_duration_ms(str(duration))
    if until:
        return max(parse_until_ms(str(until)), now_ms)
    wait_time = values.get("waitTime")
    if wait_time is None:
        return 0
    try:
        return now_ms + int(float(wait_time) * SECOND_MS)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"waitTime {wait_time!r} is not a number of seconds") from None
