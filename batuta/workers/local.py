"""Polling and reporting inside the server's process, through the engine itself."""

import logging
from typing import TYPE_CHECKING

from batuta.model.command import UpdateTask
from batuta.model.error import BatutaError, ClosingError, ConflictError, NotFoundError
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.queues import LOCAL_WORKER
from batuta.workers.backoff import Backoff
from batuta.workers.function import Job, TaskFunction
from batuta.workers.outcome import EMPTY_OUTPUT, NOTHING, Outcome, refused

if TYPE_CHECKING:
    from batuta.runtime.engine import Engine
    from batuta.runtime.view import Polled

log = logging.getLogger(__name__)

# An empty poll touches no store, so a long wait costs nothing and a short one a wake-up.
TAKE_WAIT_MS = 10_000


class LocalTransport:
    """A worker that lives with its engine; all of one node share the id LOCAL_WORKER."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def take(self, function: TaskFunction) -> Job | None:
        """Wait in the queue's line for one task."""
        backoff = Backoff()
        try:
            polled = await self._engine.poll(
                function.task_type,
                domain=function.domain,
                worker_id=LOCAL_WORKER,
                count=1,
                wait_ms=TAKE_WAIT_MS,
            )
        except BatutaError as error:
            log.warning("cannot poll for %s: %s", function.task_type, error.message)
            await backoff.wait()
            return None
        if not polled:
            if self._engine.is_draining:  # it answers at once then
                await backoff.wait()
            return None
        return _job(polled[0])

    async def report(self, job: Job, outcome: Outcome, *, is_taking: bool) -> Job | None:
        """Report in one commit with taking the next task of the same queue."""
        backoff = Backoff()
        while True:
            command = self._command(job, outcome)
            try:
                if not is_taking:
                    await self._engine.update(command, actor=LOCAL_WORKER)
                    return None
                polled = await self._engine.update_and_poll(command, actor=LOCAL_WORKER)
            except (NotFoundError, ConflictError) as error:
                log.warning("the report on task %s is moot: %s", job.task_id, error.message)
                return None
            except ClosingError:
                return None  # the task is offered again when its lease has ended
            except BatutaError as error:
                if error.is_retryable:
                    await backoff.wait()
                    continue
                log.error("the report on task %s was refused: %s", job.task_id, error.message)  # noqa: TRY400
                if outcome.output in NOTHING:
                    return None
                outcome = refused(outcome, error.message)
                continue
            return _job(polled) if polled is not None else None

    async def extend(self, job: Job) -> bool:
        """Renew the lease, which is no new version of the run."""
        try:
            await self._engine.extend_lease(job.workflow_id, job.task_id)
        except (NotFoundError, ConflictError):
            return False
        return True

    async def add_log(self, job: Job, line: str) -> None:
        """Add a line to the task's log."""
        await self._engine.add_log(job.task_id, line)

    async def close(self) -> None:
        """Hold nothing: the engine belongs to the server."""

    def _command(self, job: Job, outcome: Outcome) -> UpdateTask:
        return UpdateTask(
            workflow_id=job.workflow_id,
            task_id=job.task_id,
            status=outcome.status,
            output=_payload(outcome.output),
            reason=outcome.reason,
            callback_after_ms=outcome.callback_after_ms,
            is_parked=outcome.is_parked,
            worker_id=LOCAL_WORKER,
            logs=outcome.logs,
        )


def _payload(output: bytes | None) -> Payload | None:
    return EMPTY if output == EMPTY_OUTPUT else Payload(output) if output is not None else None


def _job(polled: "Polled") -> Job:
    task = polled.task
    assert polled.input.raw is not None, "a polled task comes with its input"
    return Job(
        task_id=task.task_id,
        workflow_id=polled.workflow.workflow_id,
        task_type=task.task_type,
        reference_name=task.reference_name,
        retry_count=task.retry_count,
        poll_count=polled.lease.poll_count,
        input=polled.input.raw,
        output=polled.output.raw or EMPTY_OUTPUT,
        lease_ms=polled.lease.lease_ms,
        is_async_complete=polled.graph.node_of(task).task.async_complete,
    )
