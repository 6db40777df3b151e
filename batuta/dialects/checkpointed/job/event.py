"""What a job's event stream tells, made anew from its run each time. Pure. Source: S4.6.

An event has the number of the attempt that it is about and its place within it as its id. Both
only grow, so who comes back with the last id that was seen gets just what came after.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from batuta.dialects.checkpointed.job.view import (
    CANCELLED,
    COMPLETED,
    FAILED,
    Step,
    failure,
    is_failure,
    job,
    outputs_of,
    progress_at,
    status_of,
    steps_of,
)
from batuta.dialects.checkpointed.run.desk import PROGRESS_LINES_MAX, progress_of
from batuta.dialects.checkpointed.run.standing import Stage, decoded, stage_of
from batuta.model.execution import TaskStatus
from batuta.runtime.view import RunView, TaskView

_CHECKPOINT = PROGRESS_LINES_MAX + 1  # place within an attempt, after all that it reports
_AFTER, _ERROR, _END = _CHECKPOINT + 1, _CHECKPOINT + 2, _CHECKPOINT + 3

Id = tuple[int, int]
Lines = Mapping[str, Sequence[str]]


class Event(msgspec.Struct, frozen=True):
    """An event of a job; ``id`` None: it is about now, and not told again."""

    name: str
    data: dict[str, Any]
    id: Id | None = None


def encoded(event: Event) -> bytes:
    """Return an event as it is sent."""
    number = b"" if event.id is None else f"id: {event.id[0]}-{event.id[1]}\n".encode()
    name = f"event: {event.name}\n".encode()
    return number + name + b"data: " + msgspec.json.encode(event.data) + b"\n\n"


def read_id(text: str) -> Id:
    """Return the id in a Last-Event-ID; (0, 0) for none, or for what is none of ours."""
    seq, _, place = text.strip().partition("-")
    if not (seq.isascii() and seq.isdecimal() and place.isascii() and place.isdecimal()):
        return (0, 0)
    if len(text) > 40:
        return (0, 0)
    return int(seq), int(place)


def events_of(run: RunView, lines: Lines) -> list[Event]:
    """Return all that there is to tell of a job so far, in its order.

    Args:
        lines: The logs of its attempts, by task id.
    """
    steps = steps_of(run)
    by_name = {view.task.task_id: step for step in steps for view in step.attempts}
    found: list[Event] = []
    shown = 0
    for view in run.tasks:
        for event in _of_attempt(run, view, by_name[view.task.task_id], len(steps), lines):
            if event.name == "progress":  # it never goes back, whatever a retry reports
                shown = event.data["progress"] = max(shown, event.data["progress"])
            found.append(event)
    found.extend(_end(run, steps))
    return found


def _of_attempt(
    run: RunView, view: TaskView, step: Step, total: int, lines: Lines
) -> Iterator[Event]:
    task = view.task
    if task.status is TaskStatus.CANCELED:
        return
    if not task.status.is_terminal and stage_of(run, view) is not Stage.RUNNING:
        return
    yield Event("progress", _progress(step, 0, total), (task.seq, 1))
    reports = [found for line in lines.get(task.task_id, ()) if (found := progress_of(line))]
    for number, (percent, message) in enumerate(reports[: PROGRESS_LINES_MAX - 1], 2):
        data = _progress(step, percent / 100, total, message)
        yield Event("progress", data, (task.seq, number))
    if task.status is TaskStatus.COMPLETED:
        output = decoded(view.output).get("output")
        data = {"step": step.place, "step_name": step.name, "status": COMPLETED, "output": output}
        yield Event("checkpoint", data, (task.seq, _CHECKPOINT))
        if step.place + 1 < total:
            yield Event("progress", _progress(step, 1, total), (task.seq, _AFTER))
    elif is_failure(view):
        told = failure(view)
        data = {
            "step": step.place,
            "step_name": step.name,
            "error": told["error"],
            "error_type": told["error_type"],
            "retryable": task.is_retried and told["is_retryable"],
        }
        yield Event("error", data, (task.seq, _ERROR))


def _progress(step: Step, part: float, total: int, message: str = "") -> dict[str, Any]:
    return {
        "step": step.place,
        "step_name": step.name,
        "progress": progress_at(step.place + part, total),
        "message": message or f"Step {step.place + 1} of {total}: {step.name}",
        "total_steps": total,
    }


def _end(run: RunView, steps: list[Step]) -> Iterator[Event]:
    status, seq = status_of(run), run.tasks[-1].task.seq if run.tasks else 0
    if status == COMPLETED:
        last = steps[-1]
        data = {**_progress(last, 1, len(steps)), "progress": 100}
        yield Event("progress", data, (seq, _AFTER))
        shown = job(run)
        result = outputs_of(steps)[-1][1] if outputs_of(steps) else None
        yield Event("complete", {"type": "complete", "result": result, "job": shown}, (seq, _END))
    elif status in {FAILED, CANCELLED}:
        shown = job(run)
        data = {"type": "update", "event": status, "job": shown}
        yield Event("update", data, (seq, _END))
