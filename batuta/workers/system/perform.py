"""Doing one HTTP task: read the input, call, and say what came. See docs/reference/tasks-http.md.

An answer of 2xx completes the task, any other and none at all fail the attempt: its task
definition says whether there is another one.
"""

from typing import Any

import msgspec

from batuta.model.error import InvalidError
from batuta.model.execution import TaskStatus
from batuta.workers.function import TaskContext
from batuta.workers.outcome import Outcome
from batuta.workers.system.answer import Answer, describe, shown_body
from batuta.workers.system.connection import CallError, call, shown
from batuta.workers.system.request import HttpRequest, is_async_complete, read_request
from batuta.workers.system.target import Targets

BODY_SHOWN_CHARACTERS = 300  # of an error's body in the reason, which has 500 in all
_FAILED = "Failed to invoke HTTP task due to: "  # as OSS begins; dashboards look for it


async def perform(task: TaskContext, targets: Targets) -> Outcome:
    """Make the request that a task asks for, and report on it."""
    try:
        request = read_request(task.input)
    except InvalidError as fault:
        return _failed(fault.message, fault.message)
    try:
        answer = await call(request, targets)
    except CallError as error:
        return _failed(str(error), str(error))
    response = describe(answer)
    if not answer.is_success:
        return _failed(_refusal(request, answer), response)
    is_parked = is_async_complete(task.input, otherwise=task.job.is_async_complete)
    return Outcome(
        status=TaskStatus.IN_PROGRESS if is_parked else TaskStatus.COMPLETED,
        output=msgspec.json.encode({"response": response}),
        is_parked=is_parked,
    )


def _refusal(request: HttpRequest, answer: Answer) -> str:
    status = " ".join(filter(None, (str(answer.status), answer.phrase)))
    text = f"{status} from {request.method} {shown(request.uri)}"
    body = shown_body(answer, BODY_SHOWN_CHARACTERS)
    return f"{text}: {body}" if body else text


def _failed(reason: str, response: Any) -> Outcome:
    """Fail the attempt; without an answer `response` is the reason, as in OSS."""
    return Outcome(
        status=TaskStatus.FAILED,
        output=msgspec.json.encode({"response": response}),
        reason=_FAILED + reason,
    )
