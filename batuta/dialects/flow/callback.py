"""Telling somebody that a run has ended: a signed POST, tried again until it is taken.

A run with a `callbackUrl` is the sub-workflow of another one, whose next task is the POST. So the
end of the run and the wish to tell it are one commit, however it ends, and telling it has what
every task has: retries, a lease, its place in `/api/workflow`. Signed as Standard Webhooks says
(https://www.standardwebhooks.com), so that its libraries can check it.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

from batuta.dialects.base import Host, worker_of
from batuta.dialects.flow.lower import CONFIGS, OWNER, PREFIX
from batuta.dialects.flow.view import COMPLETED, record_of
from batuta.model.definition import (
    RetryLogic,
    SubWorkflowParams,
    TaskDef,
    WorkflowDef,
    WorkflowTask,
)
from batuta.model.error import InvalidError, NotFoundError
from batuta.model.execution import TaskStatus
from batuta.runtime.clock import wall_ms
from batuta.runtime.view import RunView
from batuta.workers.function import TaskContext, TaskFunction
from batuta.workers.outcome import Outcome

NAME = f"{PREFIX}callback"  # of the workflow around one that is told of
TASK = "flow.callback"
CONCURRENCY = 16  # POSTs of this server at once
RETRIES = 24  # the last one 17 hours after the end
RETRY_DELAY_SECONDS = 5  # doubled each time, up to an hour
RETRY_DELAY_SECONDS_MAX = 3_600
LEASE_SECONDS = 60  # of a server that has died; longer than a POST may take
POST_MS_MAX = 20_000
BODY_BYTES_MAX = 1_000_000  # a larger one goes without results, which can be asked for
REFUSED = 410  # "Gone": whoever answers it wants no more
SECRET_PREFIX = "whsec_"  # noqa: S105 - what marks a secret that is base64


def wrapped(flow: WorkflowDef) -> WorkflowDef:
    """Return the workflow that runs another one and then tells its end, whatever it is."""
    own = WorkflowTask(
        name="flow",
        task_reference_name="flow",
        type="SUB_WORKFLOW",
        optional=True,
        sub_workflow_param=SubWorkflowParams(
            name=flow.name, version=flow.version, workflow_definition=flow
        ),
        input_parameters={
            "workflowName": "${workflow.input.workflowName}",
            CONFIGS: f"${{workflow.input.{CONFIGS}}}",
        },
    )
    tell = WorkflowTask(
        name=TASK,
        task_reference_name="callback",
        type="SIMPLE",
        input_parameters={
            "workflowId": "${flow.output.subWorkflowId}",
            "callbackUrl": "${workflow.input.callbackUrl}",
        },
        retry_count=RETRIES,
        retry_logic=RetryLogic.EXPONENTIAL_BACKOFF,
        retry_delay_seconds=RETRY_DELAY_SECONDS,
        task_definition=TaskDef(
            name=TASK,
            response_timeout_seconds=LEASE_SECONDS,
            max_retry_delay_seconds=RETRY_DELAY_SECONDS_MAX,
        ),
    )
    return WorkflowDef(name=NAME, version=1, tasks=[own, tell], owner_email=OWNER)


def callback_function(host: Host) -> TaskFunction:
    """Make the worker that tells ends."""

    async def do(task: TaskContext) -> Outcome:
        return await _tell(task, host)

    return worker_of(TASK, do, concurrency=CONCURRENCY)


def signature(secret: str, message_id: str, at_s: int, body: bytes) -> str:
    """Return the header that proves who sent a message; see Standard Webhooks, "v1"."""
    signed = f"{message_id}.{at_s}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def message_of(run: RunView, at_ms: int) -> bytes:
    """Return the body of the message about a run's end: its history record, as an event."""
    record = record_of(run)
    word = "completed" if record["status"] == COMPLETED else "failed"
    event: dict[str, Any] = {
        "type": f"workflow.{word}",
        "timestamp": record["endTime"],
        "sentAt": at_ms,
        "data": {**record, "error": run.workflow.reason},
    }
    body = msgspec.json.encode(event)
    if len(body) <= BODY_BYTES_MAX:
        return body
    del event["data"]["results"]
    return msgspec.json.encode(event)


async def _tell(task: TaskContext, host: Host) -> Outcome:
    given = task.input
    try:
        run = await host.engine.get(str(given.get("workflowId")))
    except NotFoundError as missing:
        return _failed(missing.message, is_final=True)
    if not host.flow_callback_secret:
        return _failed("the setting flow_callback_secret is empty, so nothing can be signed")
    workflow = run.workflow
    if not workflow.status.is_terminal:
        return _failed("the run was opened again; its next end is told")
    # One that ends a second time, after a retry, is another message.
    message_id = f"{workflow.workflow_id}.{workflow.epoch}"
    at_ms = wall_ms()
    body = message_of(run, at_ms)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(at_ms // 1_000),
        "webhook-signature": signature(host.flow_callback_secret, message_id, at_ms // 1_000, body),
    }
    return await _post(str(given.get("callbackUrl")), headers, body, host)


async def _post(url: str, headers: dict[str, str], body: bytes, host: Host) -> Outcome:
    # It takes aiohttp, 0.4 s and 14 MB, which a server without callbacks need not pay.
    from batuta.workers.system.connection import CallError, call  # noqa: PLC0415
    from batuta.workers.system.request import HttpRequest  # noqa: PLC0415

    request = HttpRequest(
        method="POST",
        uri=url,
        headers=tuple(headers.items()),
        body=body,
        connect_ms=POST_MS_MAX,
        read_ms=POST_MS_MAX,
    )
    try:
        async with asyncio.timeout(POST_MS_MAX / 1_000):
            answer = await call(request, host.targets)
    except TimeoutError:
        return _failed(f"no answer within {POST_MS_MAX // 1_000} s")
    except (CallError, InvalidError) as error:
        return _failed(str(error))
    if not 200 <= answer.status < 300:
        return _failed(f"answered {answer.status}", is_final=answer.status == REFUSED)
    output = msgspec.json.encode({"status": answer.status})
    return Outcome(status=TaskStatus.COMPLETED, output=output)


def _failed(reason: str, *, is_final: bool = False) -> Outcome:
    failed, final = TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR
    return Outcome(status=final if is_final else failed, reason=f"callback: {reason}")


def _key(secret: str) -> bytes:
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            pass  # it only looks like one of theirs
    return secret.encode()
