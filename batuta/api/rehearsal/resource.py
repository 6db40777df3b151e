"""`POST /api/workflow/test`: a workflow is run with mocked results, and nothing is kept.

Source: contract endpoints; conductor WorkflowTestRequest, WorkflowTestService.
"""

from collections.abc import Sequence

import msgspec

from batuta.api import hot
from batuta.api.body import (
    StartBody,
    decode_body,
    inline_document,
    payload_of,
    refuse,
    to_start,
    to_status,
)
from batuta.api.request import Reply, Request, Route, json_reply, read_body
from batuta.api.wire import WorkflowBody, workflow_body
from batuta.core.definition.normalize import faults_text, read_workflow_def
from batuta.model.definition import WorkflowDef
from batuta.model.error import Fault, InvalidError
from batuta.model.execution import TaskStatus
from batuta.runtime.rehearsal.mock import Mock, Mocks

MOCK_MS_MAX = 10 * 365 * 24 * 3_600_000  # ten years; what waits longer is no test


class MockBody(msgspec.Struct, frozen=True, rename="camel"):
    """One result of a task; times in ms. Source: conductor WorkflowTestRequest.TaskMock."""

    status: str | None = None
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    execution_time: int | None = None
    queue_wait_time: int | None = None


class RehearsalBody(StartBody, frozen=True, rename="camel"):
    """A start with what tasks are to answer. Source: conductor WorkflowTestRequest."""

    task_ref_to_mock_output: dict[str, list[MockBody | None] | None] | None = None
    sub_workflow_test_request: "dict[str, RehearsalBody | None] | None" = None


_decoder = msgspec.json.Decoder(RehearsalBody, strict=False)


async def test(request: Request) -> Reply:
    """Run a workflow with mocked results; the answer is the run as it stands at its end."""
    hot.check_open(request)
    body = decode_body(_decoder, await read_body(request))
    wish = to_start(body, strict=request.settings.strict)
    if wish.definition is not None:
        await hot.check_inline(request, body)
    mocks = await _mocks(request, body, "")
    return json_reply(workflow_body(await request.engine.rehearsals.rehearse(wish, mocks)))


async def _mocks(request: Request, body: RehearsalBody, path: str) -> Mocks:
    """Read the results of a run and of its sub-workflows; faults by their path in the body."""
    inside = body.sub_workflow_test_request or {}
    children = {
        name: await _mocks(request, inner, f"{path}subWorkflowTestRequest.{name}.")
        for name, inner in inside.items()
        if inner is not None
    }
    results = {
        name: tuple(
            _mock(one or MockBody(), f"{path}taskRefToMockOutput.{name}[{place}]")
            for place, one in enumerate(given)
        )
        for name, given in (body.task_ref_to_mock_output or {}).items()
        if given is not None
    }
    definition = await _definition(request, body, path) if path else None
    return Mocks(results=results, children=children, definition=definition)


def _mock(body: MockBody, path: str) -> Mock:
    return Mock(
        status=_status(body.status, path),
        output=payload_of(body.output, f"{path}.output"),
        queue_wait_ms=_duration_ms(body.queue_wait_time, f"{path}.queueWaitTime"),
        execution_ms=_duration_ms(body.execution_time, f"{path}.executionTime"),
    )


def _status(word: str | None, path: str) -> TaskStatus:
    if word is None:
        return TaskStatus.COMPLETED
    try:
        return to_status(word)
    except InvalidError as error:
        raise refuse(f"{path}.status", error.faults[0].message, word) from error


def _duration_ms(given: int | None, path: str) -> int:
    duration_ms = given or 0
    if not 0 <= duration_ms <= MOCK_MS_MAX:
        raise refuse(path, f"expected 0 to {MOCK_MS_MAX} ms", given)
    return duration_ms


async def _definition(request: Request, body: RehearsalBody, path: str) -> WorkflowDef | None:
    """Return the definition that came for a sub-workflow, judged as a registered one."""
    document = inline_document(body)
    if document is None:
        return None
    faults: Sequence[Fault] = await request.engine.definitions.validate(document)
    if faults:
        named = [Fault(f"{path}workflowDef.{one.path}", one.message, one.value) for one in faults]
        raise InvalidError(f"{path}workflowDef is invalid: {faults_text(named)}", named)
    return read_workflow_def(document, strict=request.settings.strict)


REHEARSAL_ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/api/workflow/test",
        handler=test,
        summary="Run a workflow with mocked results; nothing of it is kept",
        group="workflow",
        request=RehearsalBody,
        answer=WorkflowBody,
        also=(400, 404, 429, 503),
    ),
)
