"""A job's event stream: where it stands, then all that it has to tell, until it has ended."""

from collections.abc import AsyncGenerator

from batuta.dialects.checkpointed.job.event import Event, Id, encoded, events_of
from batuta.dialects.checkpointed.job.find import Jobs
from batuta.model.error import NotFoundError
from batuta.runtime.engine import Engine
from batuta.runtime.view import RunView

EVENT_STREAM = b"text/event-stream"
NOT_STORED = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
KEEP_ALIVE = b": keep-alive\n\n"
RECONNECT = b"retry: 1000\n\n"


async def job_events(
    engine: Engine, jobs: Jobs, job_id: str, seen: Id
) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a job's stream.

    Args:
        seen: The id of the last event that its reader has; (0, 0) for none.
    """
    ended_lines: dict[str, list[str]] = {}
    status = ""
    yield RECONNECT
    async for version in engine.feed.versions(job_id):
        if version is None:
            yield KEEP_ALIVE
            continue
        try:
            run = await engine.get(job_id)
        except NotFoundError:
            return  # removed meanwhile
        shown = await jobs.shown(run)
        if not status:
            data = {"job_id": job_id, "status": shown["status"], "progress": shown["progress"]}
            yield encoded(Event("connected", data))
        if not status or (shown["status"] != status and not run.workflow.status.is_terminal):
            data = {"type": "update", "event": shown["status"], "job": shown}
            yield encoded(Event("update", data))
        status = shown["status"]
        for event in events_of(run, await _lines(jobs, run, ended_lines)):
            if event.id is not None and event.id > seen:
                seen = event.id
                yield encoded(event)
        if run.workflow.status.is_terminal:
            return


async def _lines(jobs: Jobs, run: RunView, ended: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the logs of a job's attempts; those of ended ones are read once."""
    found = {}
    for view in run.tasks:
        task_id = view.task.task_id
        found[task_id] = ended.get(task_id) or await jobs.lines((view,))
        if view.task.status.is_terminal:
            ended[task_id] = found[task_id]
    return found
