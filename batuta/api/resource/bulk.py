"""Operations on many runs at once; each succeeds or fails for itself, the answer says which.

Source: semantics.md f; conductor WorkflowBulkResource.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from batuta.api.body import decode_whole, refuse
from batuta.api.request import Reply, Request, json_reply, read_body
from batuta.api.resource.metadata import BulkBody
from batuta.model.command import (
    Control,
    DeleteWorkflow,
    PauseWorkflow,
    RestartWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    TerminateWorkflow,
)


async def pause(request: Request) -> Reply:
    """Pause many runs."""
    return await _control(request, PauseWorkflow)


async def resume(request: Request) -> Reply:
    """Resume many runs."""
    return await _control(request, ResumeWorkflow)


async def restart(request: Request) -> Reply:
    """Restart many runs."""
    use_latest = request.boolean("useLatestDefinitions", default=False)
    return await _control(
        request,
        lambda workflow_id: RestartWorkflow(workflow_id=workflow_id, use_latest=use_latest),
    )


async def retry(request: Request) -> Reply:
    """Retry many runs."""
    return await _control(request, lambda workflow_id: RetryWorkflow(workflow_id=workflow_id))


async def terminate(request: Request) -> Reply:
    """Terminate many runs."""
    reason = request.text("reason")
    return await _control(
        request, lambda workflow_id: TerminateWorkflow(workflow_id=workflow_id, reason=reason)
    )


async def remove(request: Request) -> Reply:
    """Delete many runs."""
    must_have_ended = request.boolean("archiveWorkflow", default=True)
    return await _control(
        request,
        lambda workflow_id: DeleteWorkflow(
            workflow_id=workflow_id, must_have_ended=must_have_ended
        ),
    )


async def terminate_remove(request: Request) -> Reply:
    """Terminate and delete many runs; an id is in one of the two lists of the answer."""
    request.boolean("archiveWorkflow", default=True)
    reason = request.text("reason")

    async def work(workflow_id: str) -> None:
        await request.engine.operations.remove(workflow_id, reason=reason)

    return await _each(request, work)


async def _control(request: Request, make: Callable[[str], Control]) -> Reply:
    async def work(workflow_id: str) -> None:
        await request.engine.control(make(workflow_id))

    return await _each(request, work)


async def _each(request: Request, work: Callable[[str], Awaitable[None]]) -> Reply:
    workflow_ids = _ids(decode_whole(await read_body(request)))
    bulk = await request.engine.operations.each(workflow_ids, work)
    return json_reply(BulkBody(bulk.errors, bulk.done))


def _ids(document: Any) -> list[str]:
    """Read a list of workflow ids.

    Raises:
        InvalidError: It is something else.
    """
    if not isinstance(document, list):
        raise refuse("body", "expected a list of workflow ids")
    for place, one in enumerate(document):
        if not isinstance(one, str):
            raise refuse(f"[{place}]", "expected a workflow id", one)
    return document
