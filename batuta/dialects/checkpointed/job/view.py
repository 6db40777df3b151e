"""From a run of the engine to a job and its execution, in this dialect's words. Source: S4.3."""

import math
from typing import Any

import msgspec

from batuta.dialects.checkpointed.run.standing import Stage, decoded, stage_of
from batuta.dialects.checkpointed.run.wait import EXCEEDED, TIMEOUT
from batuta.dialects.nest import moment
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.view import RunView, TaskView

PENDING, RUNNING, WAITING = "pending", "running", "pending_retry"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
STATUSES = (PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, WAITING)
PERCENT_MAX = 99  # before the end

_WORDS = {
    WorkflowStatus.COMPLETED: COMPLETED,
    WorkflowStatus.FAILED: FAILED,
    WorkflowStatus.TIMED_OUT: FAILED,
    WorkflowStatus.TERMINATED: CANCELLED,
}
_RESULTS = ("edited_image_url", "upscaled_image_url", "image_url", "output_url", "url")
_KINDS = {
    "video": (".mp4", ".webm", ".mov", ".mkv"),
    "audio": (".mp3", ".wav", ".ogg", ".flac", ".m4a"),
    "image": (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".bmp"),
}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a job: what there is of it."""

    place: int
    name: str
    kind: str
    attempts: tuple[TaskView, ...]

    @property
    def last(self) -> TaskView | None:
        """Its newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def done(self) -> TaskView | None:
        """The attempt that completed it."""
        last = self.last
        return last if last is not None and last.task.status is TaskStatus.COMPLETED else None

    @property
    def failed(self) -> TaskView | None:
        """The newest attempt that failed, of a step that is not completed."""
        if self.done is not None:
            return None
        failed = [one for one in self.attempts if is_failure(one)]
        return failed[-1] if failed else None


def is_failure(view: TaskView) -> bool:
    """Say whether an attempt has failed; one that was cancelled with its job has not."""
    status = view.task.status
    return status.is_terminal and not status.is_successful and status is not TaskStatus.CANCELED


def steps_of(run: RunView) -> list[Step]:
    """Return a job's steps in their order, those not reached too."""
    attempts: dict[str, list[TaskView]] = {}
    for view in run.tasks:
        attempts.setdefault(view.task.reference_name, []).append(view)
    steps = []
    for place, task in enumerate(run.graph.definition.tasks):
        about = task.input_parameters.get("step") or {}
        steps.append(
            Step(
                place=place,
                name=str(about.get("name")),
                kind=str(about.get("type") or ""),
                attempts=tuple(attempts.get(task.task_reference_name, ())),
            )
        )
    return steps


def status_of(run: RunView) -> str:
    """Return a job's status."""
    word = _WORDS.get(run.workflow.status)
    if word is not None:
        return word
    live = [view for view in run.tasks if not view.task.status.is_terminal]
    if not live:
        return RUNNING
    stage = stage_of(run, live[-1])
    if stage is Stage.WAITING:
        return WAITING
    is_first = len(run.tasks) == 1 and stage is Stage.QUEUED
    return PENDING if is_first else RUNNING


def current_step(run: RunView) -> int:
    """Return the place of the step that a job is at; that of none when all are completed."""
    steps = steps_of(run)
    return next((step.place for step in steps if step.done is None), len(steps))


def progress_of_job(run: RunView, percent: float = 0) -> int:
    """Return how much of a job is done; ``percent`` of its current step was reported."""
    if run.workflow.status is WorkflowStatus.COMPLETED:
        return 100
    return progress_at(current_step(run) + percent / 100, len(run.graph.definition.tasks))


def progress_at(steps: float, total: int) -> int:
    """Return the percentage of so many steps; 100 is for the end of the job."""
    return min(math.floor(100 * steps / total), PERCENT_MAX)


def job(run: RunView, percent: float = 0) -> dict[str, Any]:
    """Return a job as it is shown."""
    workflow, given = run.workflow, decoded(run.input)
    steps = steps_of(run)
    first = next((view for view in run.tasks), None)
    images, videos = _results(steps)
    sent = given.get("input")
    sent = sent if isinstance(sent, dict) else {}
    started_at_ms = _started_at_ms(first) if first is not None else 0
    status = status_of(run)
    return {
        "job_id": workflow.workflow_id,
        "user_id": workflow.owner,
        "status": status,
        "prompt": f"Workflow: {given.get('workflow_name')}",
        "model": workflow.name,
        "job_type": "workflow",
        "image_url": images or sent.get("url") or sent.get("image_url"),
        "video_url": videos,
        "progress": progress_of_job(run, percent),
        "error_message": _message(run, steps, status),
        "metadata": {"options": given.get("options") or {}, "assets": _assets(steps)},
        "workflow_metadata": {
            "workflow_id": workflow.name,
            "current_step": current_step(run),
            "total_steps": len(steps),
        },
        "created_at": moment(workflow.created_at_ms),
        "started_at": moment(started_at_ms) if started_at_ms else None,
        "completed_at": moment(workflow.ended_at_ms) if workflow.status.is_terminal else None,
        "updated_at": moment(workflow.updated_at_ms),
    }


def execution(run: RunView) -> dict[str, Any]:
    """Return a job's execution with its checkpoints."""
    workflow, given = run.workflow, decoded(run.input)
    steps, status = steps_of(run), status_of(run)
    failed = next((step for step in steps if step.failed is not None), None)
    checkpoints = {str(step.place): found for step in steps if (found := checkpoint(step))}
    is_shown = failed is not None and status in {WAITING, FAILED}
    return {
        "id": workflow.workflow_id,
        "job_id": workflow.workflow_id,
        "workflow_id": workflow.name,
        "user_id": workflow.owner,
        "current_step": current_step(run),
        "total_steps": len(steps),
        "status": status,
        "checkpoints": {**checkpoints, "_input": given.get("input")},
        "error_info": _error_info(failed) if is_shown and failed else None,
        "retry_count": failed.failed.task.retry_count if failed and failed.failed else 0,
        "created_at": moment(workflow.created_at_ms),
        "updated_at": moment(workflow.updated_at_ms),
        "can_retry": status in {WAITING, FAILED},
    }


def checkpoint(step: Step) -> dict[str, Any] | None:
    """Return what a step has left, None when that is nothing yet."""
    about = {"step_name": step.name, "step_type": step.kind}
    if step.done is not None:
        told = decoded(step.done.output)
        return {
            **about,
            "status": "completed",
            "output": told.get("output"),
            "started_at": moment(_started_at_ms(step.done)),
            "completed_at": moment(step.done.task.ended_at_ms),
        }
    if step.failed is None:
        return None
    told = failure(step.failed)
    started = {"started_at": moment(_started_at_ms(step.failed))}
    if not told["is_retryable"]:
        return {**about, "status": "failed_permanent", "error": told["error"], **started}
    return {
        **about,
        "status": "failed_retryable",
        "error": told["error"],
        "error_type": told["error_type"],
        "retry_count": step.failed.task.retry_count,
        "last_attempt": moment(step.failed.task.ended_at_ms),
        **started,
    }


def failure(view: TaskView) -> dict[str, Any]:
    """Return what is known of a failed attempt; one that the engine ended took too long."""
    told = decoded(view.output)
    is_final = view.task.status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    return {
        "error": told.get("error") or view.task.reason or view.task.status.value,
        "error_type": None if is_final else told.get("error_type") or TIMEOUT,
        "model": told.get("model"),
        "provider": told.get("provider"),
        "retry_after": told.get("retry_after"),
        "is_retryable": not is_final,
    }


def outputs_of(steps: list[Step]) -> list[tuple[Step, Any]]:
    """Return the outputs of completed steps, in their order."""
    return [
        (step, decoded(step.done.output).get("output")) for step in steps if step.done is not None
    ]


def _message(run: RunView, steps: list[Step], status: str) -> str | None:
    if status not in {WAITING, FAILED, CANCELLED}:
        return None
    failed = next((step.failed for step in steps if step.failed is not None), None)
    if status == CANCELLED or failed is None:
        return run.workflow.reason
    told = failure(failed)
    if status == FAILED and told["is_retryable"]:
        return EXCEEDED
    return str(told["error"])


def _error_info(step: Step) -> dict[str, Any]:
    assert step.failed is not None, "the step has failed"
    told = failure(step.failed)
    info = {
        "error": told["error"],
        "error_type": told["error_type"] or "hard_error",
        "failed_step": step.name,
        "failed_step_index": step.place,
        "model": told["model"],
        "provider": told["provider"],
        "last_attempt": moment(step.failed.task.ended_at_ms),
    }
    return info if told["retry_after"] is None else {**info, "retry_after": told["retry_after"]}


def _started_at_ms(view: TaskView) -> int:
    told = decoded(view.output).get("started_at_ms")
    if isinstance(told, int):
        return told
    if view.lease is not None:
        return view.lease.started_at_ms
    return view.task.started_at_ms


def _results(steps: list[Step]) -> tuple[str | None, str | None]:
    """Return the newest picture and the newest film that steps have left."""
    image = video = None
    for _, output in reversed(outputs_of(steps)):
        if not isinstance(output, dict):
            continue
        video = video or _url(output.get("video_url"))
        for key in _RESULTS:
            image = image or _url(output.get(key))
    return image, video


def _assets(steps: list[Step]) -> list[dict[str, Any]]:
    return [
        {
            "type": _kind(key, value),
            "url": value,
            "step": step.place,
            "step_name": step.name,
            "key": key,
        }
        for step, output in outputs_of(steps)
        if isinstance(output, dict)
        for key, value in output.items()
        if _url(value)
    ]


def _url(value: Any) -> str | None:
    is_one = isinstance(value, str) and value.startswith(("http://", "https://", "/files/"))
    return str(value) if is_one else None


def _kind(key: str, url: str) -> str:
    path = url.partition("?")[0].lower()
    by_name = (kind for kind, endings in _KINDS.items() if path.endswith(endings))
    by_key = (kind for kind in _KINDS if kind in key.lower())
    return next(by_name, None) or next(by_key, "file")
