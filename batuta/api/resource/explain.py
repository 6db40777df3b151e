"""Explanations beside Conductor's calls: why a run is not moving."""

from batuta.api.request import Reply, Request, Route, json_reply
from batuta.runtime.why.cause import Why
from batuta.runtime.why.collect import why


async def get_why(request: Request) -> Reply:
    """Name the causes for which a run stands where it stands, each with what to do."""
    return json_reply(await why(request.engine, request.values[0]))


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
)
