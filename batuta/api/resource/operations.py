"""What operators do to a run that pausing, resuming, terminating and retrying do not."""

import msgspec

from batuta.api.body import decode_body, payload_of, to_word
from batuta.api.request import EMPTY, NO_CONTENT, Reply, Request, Text, read_body, text_reply
from batuta.model.command import (
    DecideWorkflow,
    DeleteWorkflow,
    RerunWorkflow,
    ResetCallbacks,
    RestartWorkflow,
    SkipTask,
)
from batuta.model.payload import Payload


class RerunBody(msgspec.Struct, frozen=True, rename="camel"):
    """From where to rerun, and with what. Source: conductor RerunWorkflowRequest."""

    re_run_from_task_id: str | None = None
    task_input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    workflow_input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    correlation_id: Text = None


class SkipBody(msgspec.Struct, frozen=True, rename="camel"):
    """What a skipped task shows as its input and output. Source: conductor SkipTaskRequest."""

    task_input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    task_output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_rerun_decoder = msgspec.json.Decoder(RerunBody, strict=False)
_skip_decoder = msgspec.json.Decoder(SkipBody, strict=False)


async def restart(request: Request) -> Reply:
    """Run an ended run again from its beginning; 204, as Conductor (gotchas.md 6)."""
    use_latest = request.boolean("useLatestDefinitions", default=False)
    command = RestartWorkflow(workflow_id=request.values[0], use_latest=use_latest)
    await request.engine.control(command)
    return NO_CONTENT


async def rerun(request: Request) -> Reply:
    """Run an ended run again, all of it or from one task; the answer is its id."""
    workflow_id = request.values[0]
    body = decode_body(_rerun_decoder, await _object(request))
    command = RerunWorkflow(
        workflow_id=workflow_id,
        task_id=body.re_run_from_task_id or None,
        task_input=_given(body.task_input, "taskInput"),
        input=_given(body.workflow_input, "workflowInput"),
        correlation_id=to_word(body.correlation_id, "correlationId"),
    )
    await request.engine.operations.rerun(command)
    return text_reply(workflow_id)


async def skip_task(request: Request) -> Reply:
    """Step over a task before the run comes to it; the body is honoured (gotchas.md 7)."""
    workflow_id, reference_name = request.values
    body = decode_body(_skip_decoder, await _object(request))
    command = SkipTask(
        workflow_id=workflow_id,
        reference_name=reference_name,
        input=_given(body.task_input, "taskInput"),
        output=_given(body.task_output, "taskOutput"),
    )
    await request.engine.control(command)
    return EMPTY


async def remove(request: Request) -> Reply:
    """Delete a run with all it has; with ``archiveWorkflow`` (the default) it must have ended."""
    must_have_ended = request.boolean("archiveWorkflow", default=True)
    command = DeleteWorkflow(workflow_id=request.values[0], must_have_ended=must_have_ended)
    await request.engine.control(command)
    return EMPTY


async def terminate_remove(request: Request) -> Reply:
    """Terminate a run, unless it has ended, and delete it."""
    request.boolean("archiveWorkflow", default=True)
    await request.engine.operations.remove(request.values[0], reason=request.text("reason"))
    return EMPTY


async def reset_callbacks(request: Request) -> Reply:
    """Offer tasks that wait out a delay to workers now; 204, as Conductor (gotchas.md 6)."""
    await request.engine.control(ResetCallbacks(request.values[0]))
    return NO_CONTENT


async def decide(request: Request) -> Reply:
    """Settle what may have been left over; in a healthy run that is nothing."""
    await request.engine.control(DecideWorkflow(request.values[0]))
    return EMPTY


async def _object(request: Request) -> bytes:
    """Return the body; an absent one is an empty object."""
    body = await read_body(request)
    return body if body.strip() else b"{}"


def _given(raw: msgspec.Raw | msgspec.UnsetType, field: str) -> Payload | None:
    """Carry an object of the body; None when it is absent or null."""
    is_absent = isinstance(raw, msgspec.UnsetType) or bytes(raw) == b"null"
    return None if is_absent else payload_of(raw, field)
