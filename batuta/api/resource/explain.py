"""Beside Conductor's calls: what a run waits for, a definition hides, failed, or published.

What failed are rows of the engine itself, messages between runs and timers: design 008.
"""

import msgspec

from batuta.api.request import Parameter, Reply, Request, Route, json_reply
from batuta.core.definition.warning import Warned
from batuta.runtime.why.cause import Why
from batuta.runtime.why.collect import why
from batuta.store.failing import Failing


class LintBody(msgspec.Struct, frozen=True):
    """What a definition says and hardly means; no warnings: nothing was found."""

    name: str
    version: int
    warnings: list[Warned]


async def get_why(request: Request) -> Reply:
    """Name the causes for which a run stands where it stands, each with what to do."""
    return json_reply(await why(request.engine, request.values[0]))


async def get_lint(request: Request) -> Reply:
    """Show the warnings of a registered definition, task types that nobody polls among them."""
    polled = {one.queue for one in request.engine.poll_data()}
    definition, warnings = await request.engine.definitions.lint(
        request.values[0], request.integer("version", 0), polled=polled
    )
    return json_reply(LintBody(definition.name, definition.version, warnings))


class FailingBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message, a timer or the end of a lease that the engine could not act on.

    `retryAt` is Unix ms, 0 when it is quarantined: not tried again until it is re-armed.
    """

    workflow_id: str
    kind: str
    task_id: str
    attempts: int
    error: str
    is_quarantined: bool
    retry_at: int


class QuarantineBody(msgspec.Struct, frozen=True, kw_only=True):
    """What failed, quarantined rows first; at most 1,000."""

    quarantined: int
    rows: list[FailingBody]


class RearmedBody(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows are tried again."""

    rearmed: int


async def get_quarantine(request: Request) -> Reply:
    """Show the engine's own rows that failed, of one run or of all."""
    rows = await request.engine.quarantine.rows(request.text("workflowId"))
    bodies = [_failing_body(row) for row in rows]
    count = sum(body.is_quarantined for body in bodies)
    return json_reply(QuarantineBody(quarantined=count, rows=bodies))


async def retry_quarantine(request: Request) -> Reply:
    """Let what is quarantined be tried again, of one run or of all."""
    count = await request.engine.quarantine.rearm(request.text("workflowId"))
    return json_reply(RearmedBody(rearmed=count))


class MessageBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message that an EVENT task published; `messageId` is the task's id, `time` Unix ms."""

    position: int
    queue: str
    message_id: str
    workflow_id: str
    time: int
    payload: msgspec.Raw


class MessagesBody(msgspec.Struct, frozen=True, kw_only=True):
    """Messages, oldest first, and the cursor to go on from; it moves where none is found too."""

    position: int
    messages: list[MessageBody]


async def get_messages(request: Request) -> Reply:
    """Show what EVENT tasks have published after a position, in the order of their commits."""
    read = await request.engine.read_messages(
        max(request.integer("after", 0), 0), queue=request.text("queue")
    )
    messages = [
        MessageBody(
            position=one.position,
            queue=one.queue,
            message_id=one.message_id,
            workflow_id=one.workflow_id,
            time=one.at_ms,
            payload=msgspec.Raw(one.payload.raw or b"{}"),
        )
        for one in read.messages
    ]
    return json_reply(MessagesBody(position=read.position, messages=messages))


def _failing_body(row: Failing) -> FailingBody:
    return FailingBody(
        workflow_id=row.workflow_id,
        kind=row.kind,
        task_id=row.task_id,
        attempts=row.attempts,
        error=row.error,
        is_quarantined=row.retry_at_ms is None,
        retry_at=row.retry_at_ms or 0,
    )


_OF_RUN = Parameter("workflowId", str, note="Absent: of all runs.")

EXPLAIN_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/api/workflow/{workflowId}/why",
        handler=get_why,
        summary="Say why a run is not moving, and what to do",
        group="workflow",
        answer=Why,
        also=(404,),
    ),
    Route(
        method="GET",
        path="/api/batuta/lint/{name}",
        handler=get_lint,
        summary="Warn of what a definition says and hardly means",
        group="metadata",
        answer=LintBody,
        also=(400, 404),
        query=(Parameter("version", int, note="Absent or 0: the latest."),),
    ),
    Route(
        method="GET",
        path="/api/batuta/quarantine",
        handler=get_quarantine,
        summary="Show messages and timers that the engine could not act on",
        group="admin",
        answer=QuarantineBody,
        also=(400,),
        query=(_OF_RUN,),
    ),
    Route(
        method="GET",
        path="/api/batuta/messages",
        handler=get_messages,
        summary="Show what EVENT tasks have published",
        group="admin",
        answer=MessagesBody,
        also=(400,),
        query=(
            Parameter("after", int, note="The position of an earlier answer; absent: the start."),
            Parameter("queue", str, note="Absent: all queues."),
        ),
    ),
    Route(
        method="POST",
        path="/api/batuta/quarantine/retry",
        handler=retry_quarantine,
        summary="Try quarantined messages and timers again",
        group="admin",
        answer=RearmedBody,
        also=(400,),
        query=(_OF_RUN,),
    ),
)
