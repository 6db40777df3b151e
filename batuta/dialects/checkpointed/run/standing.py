"""Where an attempt at a step stands: does it wait, and until when. Pure.

All of it is read from the engine's rows: the failed attempt before with its wait, what this
attempt itself was told to wait for, and its lease. So a server that dies forgets nothing, and a
job shows the same to whoever asks, wherever.

After a failure the engine makes the next attempt at once. A worker takes it, sees that its time
has not come, and gives it back until then: that is a timer of the engine. One that is offered
before its time was hurried by somebody: by the owner's retry, or Conductor's resetcallbacks.
"""

from enum import Enum
from typing import Any

import msgspec

from batuta.dialects.checkpointed.run.wait import TIMEOUT, wait_s
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.runtime.view import RunView, TaskView

WAITING = "waiting"  # the status in an attempt's output while it waits
HURRIED = "is_hurried"  # there, of one that was hurried and still had to wait for its code


class Stage(Enum):
    """What an open attempt is doing."""

    QUEUED = "queued"
    WAITING = "waiting"
    RUNNING = "running"


def decoded(payload: Payload) -> dict[str, Any]:
    """Return a payload's object, an empty one where it is none."""
    value = msgspec.json.decode(payload.raw) if payload.raw else None
    return value if isinstance(value, dict) else {}


def failed_before(run: RunView, view: TaskView) -> TaskView | None:
    """Return the attempt whose failure this one comes after; None for a first attempt."""
    name, seq = view.task.reference_name, view.task.seq
    earlier = [one for one in run.tasks if one.task.reference_name == name and one.task.seq < seq]
    return earlier[-1] if earlier else None


def is_asked_for(view: TaskView, before: TaskView) -> bool:
    """Say whether somebody had the step tried again, instead of its own retry.

    Its own retry is made by the commit that ends the attempt before, at the same time.
    """
    final = (TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.CANCELED)
    return before.task.status in final or view.task.scheduled_at_ms > before.task.ended_at_ms


def resume_at_ms(before: TaskView) -> int:
    """Return when the attempt after a failed one may begin, store time."""
    told = decoded(before.output)
    seconds = told.get("wait_s")
    if not isinstance(seconds, int | float):
        seconds = wait_s(TIMEOUT)  # its server died, or was too slow to say that it lives
    return before.task.ended_at_ms + int(seconds * 1_000)


def until_ms(view: TaskView) -> int:
    """Return until when an attempt was given back, store time; 0: it was not."""
    told = decoded(view.output)
    return int(told.get("until_ms") or 0) if told.get("status") == WAITING else 0


def is_hurried(view: TaskView) -> bool:
    """Say whether an attempt in hand was offered before its time, now or when it waited before."""
    if view.lease is None:
        return False
    return view.lease.polled_at_ms < until_ms(view) or bool(decoded(view.output).get(HURRIED))


def stage_of(run: RunView, view: TaskView) -> Stage:
    """Return what an open attempt is doing."""
    before, until = failed_before(run, view), until_ms(view)
    is_free = until == 0 and (before is None or is_asked_for(view, before))
    if is_free or is_hurried(view):
        return Stage.QUEUED if view.lease is None else Stage.RUNNING
    if view.lease is None:
        return Stage.WAITING
    if before is None or is_asked_for(view, before):
        return Stage.RUNNING
    is_early = view.lease.polled_at_ms < resume_at_ms(before)
    return Stage.WAITING if is_early else Stage.RUNNING
