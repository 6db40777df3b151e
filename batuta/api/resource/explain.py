"""Explanations beside Conductor's calls: why a run is not moving, what a definition hides."""

import msgspec

from batuta.api.request import Parameter, Reply, Request, Route, json_reply
from batuta.core.definition.warning import Warned
from batuta.runtime.why.cause import Why
from batuta.runtime.why.collect import why


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
)
