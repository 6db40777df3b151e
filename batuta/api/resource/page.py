"""Health, the server at a glance, and the two pages that people look at.

The pages are plain files in `assets`: no build step, nothing from elsewhere. Their policy
lets them run only their own script and ask only this server, and they write what they are
given as text, so that nothing in a payload can become code.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batuta.api.request import Reply, Request, json_reply
from batuta.model.error import NotFoundError
from batuta.model.execution import Workflow
from batuta.runtime.clock import wall_ms
from batuta.runtime.keep.keeper import Kept
from batuta.runtime.view import QueueState, Status
from batuta.runtime.why.cause import instant
from batuta.store.query.tree import TOTAL_EXACT_MAX

if TYPE_CHECKING:
    from batuta.runtime.engine import Engine

CONTENT_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MEDIA = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_HEADERS = (
    (b"content-security-policy", CONTENT_POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)
# All of them are read when the server starts: no request names a path of the file system.
_FILES = {
    path.name: Reply(200, path.read_bytes(), _MEDIA[path.suffix], _HEADERS)
    for path in sorted((Path(__file__).parents[1] / "assets").iterdir())
    if path.suffix in _MEDIA
}


class HealthBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the server takes work. Source: conductor HealthCheckStatus.

    The fields behind ``healthy`` are what the front doors' own health checks read.
    """

    health_results: list[Any] = []
    suppressed_health_results: list[Any] = []
    healthy: bool
    status: str
    """``ok``, or ``down``."""
    service: str = "workflow-backend"
    conductor_url: str
    timestamp: str
    """ISO 8601, in UTC."""


class QueueBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A queue at a glance; times in Unix ms, 0 for never."""

    queue: str
    ready: int
    leased: int
    oldest_time: int
    last_poll_time: int


class RecentBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A run in a list; times in Unix ms, `endTime` 0 while it runs."""

    workflow_id: str
    workflow_name: str
    workflow_version: int
    status: str
    create_time: int
    end_time: int
    correlation_id: str | None = None
    parent_workflow_id: str | None = None
    reason_for_incompletion: str | None = None


class RetentionBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was removed since the server's start; the time of a pass in Unix ms, 0 for none yet.

    Files are large payloads, and uploads, that nobody names any more.
    """

    is_configured: bool
    last_pass_time: int
    runs_removed: int
    retired_tasks_removed: int
    leftover_rows_removed: int
    files_removed: int


class NodeBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The server at a glance: `recent` newest first, `loops` by name, `quarantined` rows.

    `counts` are of runs by status; of those in `countsAreLowerBounds` there are more.
    """

    version: str
    store: str
    node: str
    started_time: int
    is_ready: bool
    is_draining: bool
    counts: dict[str, int]
    counts_are_lower_bounds: list[str]
    queues: list[QueueBody]
    recent: list[RecentBody]
    loops: dict[str, dict[str, Any]]
    quarantined: int
    retention: RetentionBody | None


async def health(request: Request) -> Reply:
    """Say whether the server takes work: 200, or 503 while it starts or stops."""
    is_well = is_healthy(request.engine)
    hosts = (value for key, value in request.scope["headers"] if key == b"host")
    host = next(hosts, b"localhost").decode("latin-1")
    body = HealthBody(
        healthy=is_well,
        status="ok" if is_well else "down",
        conductor_url=f"{request.scope.get('scheme') or 'http'}://{host}/api",
        timestamp=instant(wall_ms()),
    )
    return json_reply(body, 200 if is_well else 503)


def is_healthy(engine: "Engine") -> bool:
    """Say whether the server takes work."""
    return engine.is_ready and not engine.is_draining


async def status(request: Request) -> Reply:
    """Show version, store, counts by status, queues and the newest runs."""
    engine = request.engine
    found: Status = await engine.status()
    return json_reply(
        NodeBody(
            version=found.version,
            store=found.store,
            node=found.node,
            started_time=found.started_at_ms,
            is_ready=engine.is_ready,
            is_draining=engine.is_draining,
            counts={word: min(count, TOTAL_EXACT_MAX) for word, count in found.counts.items()},
            counts_are_lower_bounds=[w for w, n in found.counts.items() if n > TOTAL_EXACT_MAX],
            queues=[_queue(queue) for queue in found.queues],
            recent=[_recent(run) for run in found.recent],
            loops=found.loops,
            quarantined=found.quarantined_count,
            retention=_retention(found.kept) if found.kept else None,
        )
    )


async def live(_request: Request) -> Reply:
    """Give the live page; with `?run=ID` it shows that run."""
    return _FILES["live.html"]


async def docs(_request: Request) -> Reply:
    """Give the documentation page."""
    return _FILES["docs.html"]


async def asset(request: Request) -> Reply:
    """Give a script or style of the pages."""
    name = request.values[0]
    found = _FILES.get(name)
    if found is None:
        raise NotFoundError(f"there is no asset {name!r}")
    return found


def _retention(kept: Kept) -> RetentionBody:
    return RetentionBody(
        is_configured=kept.is_configured,
        last_pass_time=kept.last_pass_at_ms,
        runs_removed=kept.runs,
        retired_tasks_removed=kept.retired_tasks,
        leftover_rows_removed=kept.leftover_rows,
        files_removed=kept.files,
    )


def _queue(queue: QueueState) -> QueueBody:
    return QueueBody(
        queue=queue.queue,
        ready=queue.ready,
        leased=queue.leased,
        oldest_time=queue.oldest_at_ms,
        last_poll_time=queue.last_poll_at_ms,
    )


def _recent(run: Workflow) -> RecentBody:
    return RecentBody(
        workflow_id=run.workflow_id,
        workflow_name=run.name,
        workflow_version=run.definition_version,
        status=run.status.value,
        create_time=run.created_at_ms,
        end_time=run.ended_at_ms,
        correlation_id=run.correlation_id,
        parent_workflow_id=run.parent_id,
        reason_for_incompletion=run.reason,
    )
