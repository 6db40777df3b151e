"""The paths that workers take all day: poll, report, report and poll, start.

Each takes as few Python steps as there are; bench/micro/wire.py measures them. A poller that
hangs up while it waits is taken out of its queue, and a task whose answer nobody would read is
given back, so that it does not sit out its lease. uvicorn takes a write to a dead connection in
silence, so the connection is looked at just before the answer.
"""

import msgspec

from batuta.api.body import (
    StartBody,
    check_priority,
    decode_body,
    inline_document,
    inline_faults,
    object_payload,
    refuse,
    start_decoder,
    task_result_decoder,
    to_word,
)
from batuta.api.dispatch.watch import unless_gone
from batuta.api.external.payload import external_start, external_update
from batuta.api.request import (
    NO_CONTENT,
    ClientGoneError,
    Receive,
    Reply,
    Request,
    read_body,
    ready,
    text_reply,
)
from batuta.api.wire import polled_body
from batuta.model.error import ClosingError
from batuta.runtime.queues import LOCAL_WORKER
from batuta.runtime.view import Polled, StartRequest

POLL_WAIT_MS = 100  # Conductor's, of a single poll, and of a batch poll that names none
POLL_WAIT_MS_MAX = 5_000  # Conductor's; a longer one is refused
POLL_COUNT_MAX = 1_000  # tasks of one answer; bounds its bytes and the time to encode it

_JSON = b"application/json"
_encode = msgspec.json.Encoder().encode


async def poll(request: Request) -> Reply:
    """Give one task of a type to a worker; 204 when there is none (gotchas.md 5)."""
    polled = await _take(request, count=1, wait_ms=POLL_WAIT_MS)
    if not polled:
        return NO_CONTENT
    return Reply(200, _encode(polled_body(polled[0])), _JSON)


async def poll_batch(request: Request) -> Reply:
    """Give tasks of a type to a worker: up to ``count``, as soon as one is there.

    ``[]`` when there is none: 204 breaks the Java SDK (clients.md 1.3).
    """
    count = request.integer("count", 1)
    wait_ms = request.integer("timeout", POLL_WAIT_MS)
    if wait_ms > POLL_WAIT_MS_MAX:
        raise refuse("timeout", "Long Poll Timeout value cannot be more than 5 seconds", wait_ms)
    count = min(count, POLL_COUNT_MAX)
    polled = await _take(request, count=count, wait_ms=max(wait_ms, 0)) if count > 0 else []
    return Reply(200, _encode([polled_body(one) for one in polled]), _JSON)


async def update(request: Request) -> Reply:
    """Take a worker's report; the answer is the task's id, and a promise that it is on disk."""
    body = decode_body(task_result_decoder, await read_body(request))
    command = await external_update(request.engine, body)
    if body.extend_lease:
        await request.engine.extend_lease(command.workflow_id, command.task_id)
    else:
        await request.engine.update(command)
    return text_reply(command.task_id)


async def update_and_poll(request: Request) -> Reply:
    """Take a report and give the next task of its queue to the same worker; 204 for none."""
    body = decode_body(task_result_decoder, await read_body(request))
    command = await external_update(request.engine, body)
    if body.extend_lease:
        await request.engine.extend_lease(command.workflow_id, command.task_id)
        return NO_CONTENT
    if request.engine.is_draining:
        await request.engine.update(command)
        return NO_CONTENT
    _check_worker_id("workerId", command.worker_id)
    polled = await request.engine.update_and_poll(command)
    if polled is None:
        return NO_CONTENT
    await _keep_if_connected(request, [polled])
    return Reply(200, _encode(polled_body(polled)), _JSON)


async def start(request: Request) -> Reply:
    """Start a workflow by name, or of the definition in the body; the answer is its id."""
    check_open(request)
    body = decode_body(start_decoder, await read_body(request))
    wish = await external_start(request.engine, body, strict=request.settings.strict)
    if wish.definition is not None:
        await check_inline(request, body)
    return text_reply(await request.engine.start(wish))


async def start_by_name(request: Request) -> Reply:
    """Start a workflow by the name in the path; the body is its input."""
    check_open(request)
    wish = StartRequest(
        name=request.values[0],
        version=request.integer("version", 0),
        input=object_payload(await read_body(request)),
        correlation_id=to_word(request.text("correlationId"), "correlationId"),
        priority=check_priority(request.integer("priority", 0)),
    )
    return text_reply(await request.engine.start(wish))


async def check_inline(request: Request, body: StartBody) -> None:
    """Judge an inline definition as a registered one (semantics a.3)."""
    document = inline_document(body)
    faults = await request.engine.definitions.validate(document)
    if faults:
        raise inline_faults(faults)


def check_open(request: Request) -> None:
    """Refuse to start anything while the server stops.

    Raises:
        ClosingError: As said.
    """
    if request.engine.is_draining:
        raise ClosingError("the server is shutting down and starts nothing new; try another")


def _check_worker_id(parameter: str, worker_id: str | None) -> None:
    """Refuse a name too long, and that whose leases a restarted server takes back as its own."""
    to_word(worker_id, parameter)
    if worker_id == LOCAL_WORKER:
        raise refuse(parameter, "this id is that of the workers inside the server", worker_id)


async def _take(request: Request, *, count: int, wait_ms: int) -> list[Polled]:
    """Poll, watching the connection while it waits."""
    engine = request.engine
    if engine.is_draining:
        return []
    await read_body(request)  # is of no interest, but after it only the client's end is heard
    task_type = request.values[0]
    domain, worker_id = request.text("domain"), request.text("workerid")
    _check_worker_id("workerid", worker_id)
    to_word(domain, "domain")
    polling = engine.poll(
        task_type, domain=domain, worker_id=worker_id, count=count, wait_ms=wait_ms
    )
    polled = await unless_gone(request.receive, polling)
    if polled:
        await _keep_if_connected(request, polled)
    return polled


async def _keep_if_connected(request: Request, polled: list[Polled]) -> None:
    """Give tasks back when there is nobody to answer.

    Raises:
        ClientGoneError: As said.
    """
    if is_gone(request.receive):
        await request.engine.give_back(polled)
        raise ClientGoneError("the client hung up; its tasks were given back")


def is_gone(receive: Receive) -> bool:
    """Say whether the client has hung up, without waiting and without a task.

    After the request's own messages, a receive that answers at once says `http.disconnect`; one
    that would have to wait is dropped again.
    """
    message = ready(receive)
    return message is not None and message["type"] == "http.disconnect"
