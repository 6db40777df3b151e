"""Calls that wait: sync execution, and answers to a run that waits for somebody.

A client that hangs up frees its place at once; a server that stops answers with where the run is.
Source: semantics.md j.
"""

import os
import uuid
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.api import hot
from batuta.api.body import (
    decode_body,
    object_payload,
    refuse,
    start_decoder,
    to_status,
    to_word,
)
from batuta.api.dispatch.watch import unless_gone
from batuta.api.external.payload import external_start
from batuta.api.request import (
    EMPTY,
    Reply,
    Request,
    json_reply,
    read_body,
    to_integer,
)
from batuta.api.wire import TaskBody, WorkflowBody, task_body, workflow_body
from batuta.model.command import UpdateReference, UpdateTask
from batuta.model.error import NotFoundError
from batuta.runtime.view import RunView
from batuta.runtime.waiting import WAIT_S_MAX, Outcome, check_names

WAIT_S = 10  # of an execution that names no time, or zero. Source: conductor
SIGNAL_WAIT_MS = 5_000  # of a signal that names no time. Source: conductor


class Strategy(StrEnum):
    """What a waiting call returns. Source: conductor ReturnStrategy."""

    TARGET_WORKFLOW = "TARGET_WORKFLOW"
    BLOCKING_WORKFLOW = "BLOCKING_WORKFLOW"
    BLOCKING_TASK = "BLOCKING_TASK"
    BLOCKING_TASK_INPUT = "BLOCKING_TASK_INPUT"


class SignalBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a waiting call answers: a run, or the task that blocks it.

    The fields of both of Conductor's answers, WorkflowRun and TaskRun: SDKs read either.
    Source: semantics a.7, SignalResponse.
    """

    response_type: str
    target_workflow_id: str
    target_workflow_status: str
    request_id: str
    workflow_id: str
    signal_timeout: bool
    input: msgspec.Raw
    output: msgspec.Raw
    status: str
    priority: int
    create_time: int
    update_time: int
    correlation_id: str | None = None
    created_by: str | None = None
    variables: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tasks: list[TaskBody] | None = None
    task_type: str | None = None
    task_id: str | None = None
    reference_task_name: str | None = None
    retry_count: int | None = None
    task_def_name: str | None = None
    retried_task_id: str | None = None
    workflow_type: str | None = None
    reason_for_incompletion: str | None = None


async def execute(request: Request) -> Reply:
    """Start a workflow and wait until it has ended or something blocks it."""
    hot.check_open(request)
    name, version = request.values
    body = decode_body(start_decoder, await read_body(request))
    body = replace(body, name=name, version=to_integer("version", version))
    wish = await external_start(request.engine, body, strict=request.settings.strict)
    if wish.definition is not None:
        await hot.check_inline(request, body)
    wait_s = _seconds(request)
    strategy = _strategy(request)
    names = [text.strip() for text in (request.text("waitUntilTaskRef") or "").split(",")]
    names = [text for text in names if text]
    engine = request.engine
    if names:
        definition = wish.definition or await engine.definitions.get_workflow_def(
            name, wish.version
        )
        check_names(definition, names)
    with engine.waiting.waiter() as waiter:
        workflow_id = await engine.start(wish)
        waiting = engine.waiting.until_blocked(waiter, workflow_id, names=names, wait_s=wait_s)
        outcome = await unless_gone(request.receive, waiting)
    request_id = request.text("requestId") or _request_id()
    return await _reply(request, workflow_id, outcome, strategy, request_id)


async def signal(request: Request) -> Reply:
    """Report on the first WAIT that is open in a run or its sub-workflows; 200 for none too."""
    workflow_id, word = request.values
    command = await _signal_command(request, workflow_id, word)
    if command is not None:
        await request.engine.update(command)
    return EMPTY


async def signal_sync(request: Request) -> Reply:
    """Report on the first open WAIT, and wait until the run has ended or is blocked again."""
    workflow_id, word = request.values
    strategy = _strategy(request)
    wait_ms = request.integer("timeoutMillis", SIGNAL_WAIT_MS)
    if not 0 <= wait_ms <= WAIT_S_MAX * 1_000:
        raise refuse("timeoutMillis", f"expected 0 to {WAIT_S_MAX * 1_000}", wait_ms)
    engine = request.engine
    with engine.waiting.waiter() as waiter:
        command = await _signal_command(request, workflow_id, word)
        if command is None:
            raise NotFoundError(f"workflow {workflow_id!r} has no open WAIT task to signal")
        await engine.update(command)
        waiting = engine.waiting.until_blocked(waiter, workflow_id, wait_s=wait_ms / 1_000)
        outcome = await unless_gone(request.receive, waiting)
    return await _reply(request, workflow_id, outcome, strategy, _request_id())


async def update_reference_sync(request: Request) -> Reply:
    """Report on the open task of a reference name; the answer is the run after that."""
    workflow_id, reference_name, word = request.values
    command = UpdateReference(
        workflow_id=workflow_id,
        reference_name=reference_name,
        status=to_status(word),
        output=object_payload(await read_body(request)),
        worker_id=to_word(request.text("workerid"), "workerid"),
    )
    await request.engine.update_reference(command)
    return json_reply(workflow_body(await request.engine.get(workflow_id)))


async def _signal_command(request: Request, workflow_id: str, word: str) -> UpdateTask | None:
    status = to_status(word)
    output = object_payload(await read_body(request))
    found = await request.engine.waiting.open_wait(workflow_id)
    if found is None:
        return None
    owner, task_id = found
    return UpdateTask(
        workflow_id=owner, task_id=task_id, status=status, output=output, is_merged=True
    )


async def _reply(
    request: Request, target_id: str, outcome: Outcome, strategy: Strategy, request_id: str
) -> Reply:
    target = await request.engine.get(target_id)
    is_task = strategy in {Strategy.BLOCKING_TASK, Strategy.BLOCKING_TASK_INPUT}
    if is_task and outcome.task_id is None:
        return EMPTY
    shown = target
    if strategy is not Strategy.TARGET_WORKFLOW and outcome.workflow_id != target_id:
        shown = await request.engine.get(outcome.workflow_id)
    common = {
        "response_type": strategy.value,
        "target_workflow_id": target_id,
        "target_workflow_status": target.workflow.status.value,
        "request_id": request_id,
        "signal_timeout": outcome.is_late,
    }
    if not is_task:
        return json_reply(_of_run(workflow_body(shown), common))
    task = _task(shown, outcome.task_id or "")
    return EMPTY if task is None else json_reply(_of_task(task, common))


def _of_run(run: WorkflowBody, common: dict[str, Any]) -> SignalBody:
    return SignalBody(
        **common,
        workflow_id=run.workflow_id,
        input=run.input,
        output=run.output,
        status=run.status,
        priority=run.priority,
        create_time=run.create_time,
        update_time=run.update_time,
        correlation_id=run.correlation_id,
        variables=run.variables,
        tasks=run.tasks,
        reason_for_incompletion=run.reason_for_incompletion,
    )


def _of_task(task: TaskBody, common: dict[str, Any]) -> SignalBody:
    return SignalBody(
        **common,
        workflow_id=task.workflow_instance_id,
        input=task.input_data,
        output=task.output_data,
        status=task.status.value,
        priority=task.workflow_priority,
        create_time=task.start_time,
        update_time=task.update_time,
        correlation_id=task.correlation_id,
        created_by=task.worker_id,
        task_type=task.task_type,
        task_id=task.task_id,
        reference_task_name=task.reference_task_name,
        retry_count=task.retry_count,
        task_def_name=task.task_def_name,
        retried_task_id=task.retried_task_id,
        workflow_type=task.workflow_type,
        reason_for_incompletion=task.reason_for_incompletion,
    )


def _request_id() -> str:
    """Return an id for a call that names none; it is stored nowhere."""
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def _task(run: RunView, task_id: str) -> TaskBody | None:
    """Return a task of a run; None when a rerun has replaced it since."""
    return next((task_body(run, view) for view in run.tasks if view.task.task_id == task_id), None)


def _strategy(request: Request) -> Strategy:
    word = request.text("returnStrategy") or Strategy.TARGET_WORKFLOW
    if word not in Strategy.__members__:
        raise refuse("returnStrategy", f"expected one of {', '.join(Strategy)}", word)
    return Strategy(word)


def _seconds(request: Request) -> int:
    seconds = request.integer("waitForSeconds", WAIT_S) or WAIT_S
    if not 0 < seconds <= WAIT_S_MAX:
        raise refuse("waitForSeconds", f"expected 0 to {WAIT_S_MAX}", seconds)
    return seconds
