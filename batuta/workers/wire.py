"""The part of Conductor's wire that a worker reads and writes.

Source: GET /api/tasks/poll/batch/{type}, POST /api/tasks, update-v2 (clients.md 1.2).
"""

import msgspec

from batuta.workers.function import Job
from batuta.workers.outcome import Outcome


class WireTask(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of a polled task that we look at."""

    task_id: str
    workflow_instance_id: str
    task_type: str
    reference_task_name: str = ""
    retry_count: int = 0
    poll_count: int = 1
    response_timeout_seconds: int = 0
    input_data: msgspec.Raw = msgspec.Raw(b"{}")
    output_data: msgspec.Raw = msgspec.Raw(b"{}")


class _WireLog(msgspec.Struct, frozen=True, rename="camel"):
    log: str
    task_id: str


class _WireResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    workflow_instance_id: str
    task_id: str
    worker_id: str
    status: str
    output_data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    reason_for_incompletion: str | None = None
    callback_after_seconds: int = 0
    logs: tuple[_WireLog, ...] = ()
    extend_lease: bool = False


TASKS: msgspec.json.Decoder[list[WireTask] | None] = msgspec.json.Decoder(list[WireTask] | None)
TASK: msgspec.json.Decoder[WireTask | None] = msgspec.json.Decoder(WireTask | None)
_ENCODER = msgspec.json.Encoder()


def to_job(task: WireTask) -> Job:
    """Read a task as the wire has it."""
    return Job(
        task_id=task.task_id,
        workflow_id=task.workflow_instance_id,
        task_type=task.task_type,
        reference_name=task.reference_task_name,
        retry_count=task.retry_count,
        poll_count=task.poll_count,
        input=bytes(task.input_data),
        output=bytes(task.output_data),
        lease_ms=task.response_timeout_seconds * 1000,
    )


def result_body(job: Job, outcome: Outcome, worker_id: str) -> bytes:
    """Write the report on a task. A callback is rounded up to the wire's whole seconds."""
    return _ENCODER.encode(
        _WireResult(
            workflow_instance_id=job.workflow_id,
            task_id=job.task_id,
            worker_id=worker_id,
            status=outcome.status.value,
            output_data=msgspec.UNSET if outcome.output is None else msgspec.Raw(outcome.output),
            reason_for_incompletion=outcome.reason,
            callback_after_seconds=-(-outcome.callback_after_ms // 1000),
            logs=tuple(_WireLog(log=line, task_id=job.task_id) for line in outcome.logs),
        )
    )


def heartbeat_body(job: Job, worker_id: str) -> bytes:
    """Write the wish to keep a task for another lease."""
    return _ENCODER.encode(
        _WireResult(
            workflow_instance_id=job.workflow_id,
            task_id=job.task_id,
            worker_id=worker_id,
            status="IN_PROGRESS",
            extend_lease=True,
        )
    )
