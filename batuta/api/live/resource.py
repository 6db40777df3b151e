"""GET /api/workflow/{workflowId}/stream: a run as server-sent events, whatever front door it has.

First a snapshot, then what is newer, by version of the run: a change names the tasks that were
written since and those that went. An event's id says what its reader has seen; one who comes
back with it in ``Last-Event-ID`` is told what is newer, or gets a snapshot where that can no
longer be known.
"""

import re
from collections.abc import AsyncGenerator, Sequence

import msgspec

from batuta.api.request import EventStream, Reply, Request, Route
from batuta.api.wire import TaskBody, WorkflowBody, changed_task_body, workflow_body
from batuta.model.execution import Lease
from batuta.model.payload import Payload
from batuta.runtime.engine import Engine
from batuta.runtime.feed.delta import Delta

# What was retired since a version is told for so long; an older reader gets a snapshot.
# Retention leaves it for a day.
SEEN_MS_MAX = 3_600_000
DIGEST_CHARACTERS = 12  # of a definition's hash in an id: enough to tell it from another one
EVENT_STREAM = b"text/event-stream"
NOT_STORED = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
BEAT = b": still here\n\n"
_ID = re.compile(rf"([1-9]\d{{0,14}})\.(\d{{1,15}})\.([0-9a-f]{{{DIGEST_CHARACTERS}}})", re.ASCII)
RECONNECT_MS = 1_000  # after which a browser that lost its connection comes back


class HeldBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A task in a worker's hands, shown as IN_PROGRESS; times are Unix ms."""

    task_id: str
    worker_id: str | None
    poll_count: int
    start_time: int
    update_time: int


class StateBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a run stands; its variables and its output are there when they have changed."""

    workflow_id: str
    version: int
    status: str
    update_time: int
    end_time: int = 0
    reason_for_incompletion: str | None = None
    variables: msgspec.Raw | None = None
    output: msgspec.Raw | None = None


class ChangeBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is newer: tasks by their id, seqs of those that are gone, and all that are held.

    A JOIN or a loop under way shows its output when it ends.
    """

    workflow: StateBody
    tasks: list[TaskBody]
    retired: Sequence[int]
    held: list[HeldBody]


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader has been told: until when of which definition, and what is told if new."""

    version: int = 0
    at_ms: int = 0
    digest: str = ""
    variables: bytes | None = None
    output: bytes | None = None
    held: frozenset[tuple[str, int, int]] | None = None


async def get_stream(request: Request) -> Reply:
    """Tell of a run while it goes: a snapshot, then each change."""
    engine, workflow_id = request.engine, request.values[0]
    await engine.get(workflow_id, with_tasks=False)  # a wrong id is a 404, not a stream
    engine.feed.check_room()
    events = _events(engine, workflow_id, _seen(request))
    return Reply(200, media=EVENT_STREAM, headers=NOT_STORED, chunks=events)


async def _events(engine: Engine, workflow_id: str, seen: _Seen) -> AsyncGenerator[bytes, None]:
    feed = engine.feed
    yield b"retry: %d\n\n" % RECONNECT_MS
    with feed.follow(workflow_id) as follower:
        follower.version = seen.version
        while not feed.is_released:
            found = await feed.delta(follower)
            if found is not None and not _goes_on(seen, found):
                seen = _Seen()
                follower.version = 0
                found = await feed.delta(follower)
            if found is None:
                yield b"event: removed\ndata: {}\n\n"
                return
            now = _seen_now(found)
            if seen.version == 0:
                yield _event("snapshot", now, workflow_body(found.run))
            elif (now.version, now.held) != (seen.version, seen.held):
                yield _event("change", now, _change(found, seen))
            seen = now
            while not await feed.changed(follower):
                yield BEAT


def _goes_on(seen: _Seen, found: Delta) -> bool:
    """Say whether what is newer can be told; it cannot of another definition, or after long."""
    workflow = found.run.workflow
    if seen.version == 0:
        return True
    return (
        seen.version <= workflow.version
        and seen.digest == workflow.definition[:DIGEST_CHARACTERS]
        and workflow.updated_at_ms - seen.at_ms <= SEEN_MS_MAX
    )


def _seen_now(found: Delta) -> _Seen:
    workflow = found.run.workflow
    return _Seen(
        version=workflow.version,
        at_ms=workflow.updated_at_ms,
        digest=workflow.definition[:DIGEST_CHARACTERS],
        variables=found.run.variables.raw,
        output=found.run.output.raw,
        held=frozenset((one.task_id, one.poll_count, one.polled_at_ms) for one in found.held),
    )


def _change(found: Delta, seen: _Seen) -> ChangeBody:
    run, workflow = found.run, found.run.workflow
    return ChangeBody(
        workflow=StateBody(
            workflow_id=workflow.workflow_id,
            version=workflow.version,
            status=workflow.status.value,
            update_time=workflow.updated_at_ms,
            end_time=workflow.ended_at_ms,
            reason_for_incompletion=workflow.reason,
            variables=_if_new(run.variables, seen.variables),
            output=_if_new(run.output, seen.output),
        ),
        tasks=[changed_task_body(run, view) for view in run.tasks],
        retired=found.retired,
        held=[_held(lease) for lease in found.held],
    )


def _if_new(payload: Payload, told: bytes | None) -> msgspec.Raw | None:
    if payload.raw is None or payload.raw == told:
        return None
    return msgspec.Raw(payload.raw)


def _held(lease: Lease) -> HeldBody:
    return HeldBody(
        task_id=lease.task_id,
        worker_id=lease.worker_id,
        poll_count=lease.poll_count,
        start_time=lease.started_at_ms,
        update_time=lease.polled_at_ms,
    )


def _event(name: str, now: _Seen, body: WorkflowBody | ChangeBody) -> bytes:
    seen = f"{now.version}.{now.at_ms}.{now.digest}"
    return b"event: %b\nid: %b\ndata: %b\n\n" % (
        name.encode(),
        seen.encode(),
        msgspec.json.encode(body),
    )


def _seen(request: Request) -> _Seen:
    """Read what a reader who comes back has seen; anything else than an id of ours is nothing."""
    headers: dict[bytes, bytes] = dict(request.scope["headers"])
    given = headers.get(b"last-event-id", b"").decode("latin-1")
    found = _ID.fullmatch(given)
    if found is None:
        return _Seen()
    return _Seen(version=int(found[1]), at_ms=int(found[2]), digest=found[3])


LIVE_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/api/workflow/{workflowId}/stream",
        handler=get_stream,
        summary="Tell of a run while it goes, as server-sent events",
        group="workflow",
        answer=EventStream,
        also=(404, 429),
    ),
)
