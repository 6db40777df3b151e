"""Tasks off the hot path: look at one, report by reference name, logs, and the queues."""

import msgspec

from batuta.api.body import object_payload, refuse, to_status, to_word
from batuta.api.request import (
    EMPTY,
    NO_CONTENT,
    Reply,
    Request,
    json_reply,
    read_body,
    text_reply,
)
from batuta.api.summary import TasksBody
from batuta.api.wire import is_gathering, task_body, workflow_body
from batuta.model.command import UpdateReference
from batuta.model.error import InvalidError, NotFoundError
from batuta.model.execution import TaskStatus
from batuta.runtime.view import PollData

PAGE_SIZE = 15  # tasks of a page when the client does not say. Source: conductor
PAGE_SIZE_MAX = 5_000  # as of a search
LOG_BYTES_MAX = 65_536  # of one log line; the rest is cut, because a log never gets a 400


class PollDataBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who polled a queue last. Source: semantics a.7; conductor PollData."""

    queue_name: str
    domain: str | None = None
    worker_id: str | None = None
    last_poll_time: int


class LogLineBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of a task's log. Source: semantics a.7; conductor TaskExecLog."""

    log: str
    task_id: str
    created_time: int


class ShardBody(msgspec.Struct, frozen=True):
    """A queue's depth; ``uacked``, so spelt, is what workers hold. Source: TaskResource."""

    size: int
    uacked: int


async def list_tasks(request: Request) -> Reply:
    """Show a page of one run's tasks in order of creation; ``totalHits`` counts them all."""
    start, count = request.integer("start", 0), request.integer("count", PAGE_SIZE)
    if start < 0:
        raise refuse("start", f"expected 0 or more, got {start}", start)
    if not 1 <= count <= PAGE_SIZE_MAX:
        raise refuse("count", f"expected 1 to {PAGE_SIZE_MAX}, got {count}", count)
    wanted = _statuses(request)
    run = workflow_body(await request.engine.get(request.values[0]))
    tasks = [one for one in run.tasks if not wanted or one.status in wanted]
    results = tasks[start : start + count]
    return json_reply(TasksBody(total_hits=len(tasks), results=results))


async def get_task(request: Request) -> Reply:
    """Show one task."""
    run, task = await request.engine.get_task(request.values[0])
    if is_gathering(task.task):
        run = await request.engine.get(run.workflow.workflow_id)
    return json_reply(task_body(run, task))


async def update_reference(request: Request) -> Reply:
    """Report on the open task of a reference name; the body is laid over its output.

    Without an open task of that name the answer is 200 with an empty body, as Conductor's.
    """
    workflow_id, reference_name, word = request.values
    command = UpdateReference(
        workflow_id=workflow_id,
        reference_name=reference_name,
        status=to_status(word),
        output=object_payload(await read_body(request)),
        worker_id=to_word(request.text("workerid"), "workerid"),
    )
    try:
        updated = await request.engine.update_reference(command)
    except NotFoundError:
        return EMPTY
    return text_reply(updated.task_id)


async def add_log(request: Request) -> Reply:
    """Keep a line a worker logged: the body as it is, JSON or not (clients.md 1.4)."""
    body = await read_body(request)
    line = (
        body[:LOG_BYTES_MAX].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
    await request.engine.add_log(request.values[0], line)
    return EMPTY


async def get_log(request: Request) -> Reply:
    """Show a task's log, oldest line first; 204 when it is empty (gotchas.md 5)."""
    lines = await request.engine.logs(request.values[0])
    if not lines:
        return NO_CONTENT
    return json_reply(
        [
            LogLineBody(log=line.line, task_id=line.task_id, created_time=line.created_at_ms)
            for line in lines
        ]
    )


async def get_poll_data(request: Request) -> Reply:
    """Show who polled a task type last, for each domain."""
    task_type = request.text("taskType")
    if task_type is None:
        raise InvalidError("taskType: name the task type whose polls you want")
    return json_reply([_poll_data(data) for data in request.engine.poll_data(task_type)])


async def get_all_poll_data(request: Request) -> Reply:
    """Show who polled each task type last."""
    return json_reply([_poll_data(data) for data in request.engine.poll_data()])


async def get_queues(request: Request) -> Reply:
    """Show how many tasks each queue holds, by name."""
    return json_reply(await _depths(request))


async def get_queue_sizes(request: Request) -> Reply:
    """Show how many tasks the queues of the given types hold; without types, of none."""
    depths = await _depths(request)
    given = ",".join(request.query.get("taskType", ()))
    types = [name for name in given.split(",") if name]
    return json_reply({name: depths.get(name, 0) for name in types})


async def get_queue_size(request: Request) -> Reply:
    """Show how many tasks the queue of one type, and domain, holds."""
    task_type, domain = request.text("taskType"), request.text("domain")
    if task_type is None:
        raise InvalidError("taskType: name the task type whose queue you want")
    depths = await _depths(request)
    return json_reply(depths.get(f"{domain}:{task_type}" if domain else task_type, 0))


async def get_queue_details(request: Request) -> Reply:
    """Show how many tasks of each queue are ready, and how many workers hold, as one shard."""
    status = await request.engine.status()
    return json_reply(
        {
            queue.queue: {"a": ShardBody(queue.ready, queue.leased)}
            for queue in sorted(status.queues, key=lambda q: q.queue)
        }
    )


async def requeue(request: Request) -> Reply:
    """Have waiting workers look into a type's queues again; the answer is what is ready there.

    There is nothing to push again: a task and its place in the queue are one transaction.
    """
    task_type = request.values[0]
    status = await request.engine.status()
    ready = 0
    for queue in status.queues:
        if queue.queue.rpartition(":")[2] == task_type and queue.ready:
            ready += queue.ready
            request.engine.committer.queues.hint(queue.queue)
    return text_reply(str(ready))


def _statuses(request: Request) -> set[str]:
    """Return the statuses asked for, repeated or joined by commas; none is all."""
    words = [
        word.strip().upper()
        for given in request.query.get("status", ())
        for word in given.split(",")
        if word.strip() not in {"", "None"}
    ]
    known = [status.value for status in TaskStatus]
    for word in words:
        if word not in known:
            allowed = ", ".join(known)
            raise refuse("status", f"expected one of {allowed}, got {word[:40]!r}", word)
    return set(words)


async def _depths(request: Request) -> dict[str, int]:
    status = await request.engine.status()
    return {queue.queue: queue.ready for queue in sorted(status.queues, key=lambda q: q.queue)}


def _poll_data(data: PollData) -> PollDataBody:
    return PollDataBody(
        queue_name=data.queue,
        domain=data.domain,
        worker_id=data.worker_id,
        last_poll_time=data.last_poll_at_ms,
    )
