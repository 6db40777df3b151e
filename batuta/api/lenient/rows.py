"""What guides to Conductor call although Conductor OSS does not have it. Source: S2.6.

Each is beside the calls that an SDK makes, whose answers stay what they are. With ``strict`` they
are not there, as on Conductor; the page of the API is, where Conductor has it. Definitions are
taken one by one or as a list everywhere, and a header of a key that nobody asked for is passed
over: neither needs a row.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from batuta.api.body import decode_whole, refuse
from batuta.api.request import (
    EMPTY,
    HttpError,
    Parameter,
    Reply,
    Request,
    Route,
    json_reply,
    read_body,
)
from batuta.api.resource.page import docs
from batuta.api.summary import PRINTED_BYTES_MAX, WorkflowSummaryBody, workflow_summaries
from batuta.model.command import TerminateWorkflow
from batuta.runtime.search import SearchRequest
from batuta.store.query.tree import TOTAL_EXACT_MAX

RUNS_LISTED = 100  # when the client does not say


class StatsBody(msgspec.Struct, frozen=True, rename="camel"):
    """How many runs there are in each status, and what the queues hold."""

    workflows: dict[str, int]
    queues: dict[str, int]
    ready_tasks: int
    leased_tasks: int


async def list_runs(request: Request) -> Reply:
    """Show runs, the newest first."""
    wish = SearchRequest(
        sort="startTime:DESC",
        start=request.integer("start", 0),
        size=request.integer("size", RUNS_LISTED),
        payload_bytes_max=PRINTED_BYTES_MAX,
    )
    page = await request.engine.searches.runs(wish)
    return json_reply((await asyncio.to_thread(workflow_summaries, page)).results)


async def terminate(request: Request) -> Reply:
    """End a run now; the reason is in the query, or in the body as ``{"reason": "..."}``."""
    body = await read_body(request)
    given = decode_whole(body) if body.strip() else {}
    reason = request.text("reason") or (given.get("reason") if isinstance(given, dict) else None)
    if not (isinstance(given, dict) and isinstance(reason, str | None)):
        raise refuse("reason", 'expected nothing or {"reason": "a text"}')
    command = TerminateWorkflow(workflow_id=request.values[0], reason=reason)
    await request.engine.control(command)
    return EMPTY


async def show_stats(request: Request) -> Reply:
    """Count runs and tasks."""
    status = await request.engine.status()
    return json_reply(
        StatsBody(
            workflows={word: min(count, TOTAL_EXACT_MAX) for word, count in status.counts.items()},
            queues={state.queue: state.ready for state in status.queues},
            ready_tasks=sum(state.ready for state in status.queues),
            leased_tasks=sum(state.leased for state in status.queues),
        )
    )


def _unless_strict(
    handler: Callable[[Request], Awaitable[Reply]],
) -> Callable[[Request], Awaitable[Reply]]:
    async def handle(request: Request) -> Reply:
        if request.settings.strict:
            path = request.scope["path"]
            message = f"Conductor has no {request.scope['method']} {path[:100]!r}; see /docs"
            raise HttpError(404, "NO_SUCH_PATH", message)
        return await handler(request)

    return handle


LENIENT_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/api/workflow",
        handler=_unless_strict(list_runs),
        summary="Show runs, the newest first; not with `strict`",
        group="workflow",
        answer=list[WorkflowSummaryBody],
        also=(400,),
        query=(Parameter("start", int, 0), Parameter("size", int, RUNS_LISTED)),
    ),
    Route(
        method="POST",
        path="/api/workflow/{workflowId}/terminate",
        handler=_unless_strict(terminate),
        summary="End a run now, as DELETE does; not with `strict`",
        group="workflow",
        also=(400, 404, 409),
        query=(Parameter("reason", str),),
    ),
    Route(
        method="GET",
        path="/api/admin/stats",
        handler=_unless_strict(show_stats),
        summary="Count runs by status and tasks by queue; not with `strict`",
        group="admin",
        answer=StatsBody,
    ),
    Route(
        method="GET",
        path="/swagger-ui/index.html",
        handler=docs,
        summary="The documentation page of this table, where Conductor has its own",
        group="server",
        answer=bytes,
    ),
)
