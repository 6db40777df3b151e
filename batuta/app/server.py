"""Puts a node together: the API and the front doors on an engine, with workers beside them."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batuta.app.engine import data_folder, open_engine
from batuta.app.sinks import start_sinks
from batuta.config import Settings, is_loopback
from batuta.config.binding import alias_ports as read_alias_ports
from batuta.runtime.engine import Engine

if TYPE_CHECKING:
    from batuta.api.server import App
    from batuta.dialects import Dialect
    from batuta.workers.function import TaskFunction
    from batuta.workers.media.ai import Ai
    from batuta.workers.system.target import Targets


async def serve(
    settings: Settings,
    *,
    workers: "Sequence[TaskFunction]" = (),
    functions: "Mapping[str, Callable[..., Any]] | None" = None,
    on_ready: Callable[[str, Sequence[str]], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain: no new work, what was accepted is finished.

    Args:
        workers: Task functions to run in this process.
        functions: What the steps of the step orchestrator call, besides its samples, by name.
        on_ready: Called once it listens, with the server's URL and the front doors' news.
    """
    from batuta.api.serving import listeners, make_server, until_started, url_of
    from batuta.workers.local import LocalTransport
    from batuta.workers.loop import Workers

    ports = alias_ports(settings)
    async with open_engine(settings) as engine:
        targets = _targets(settings)
        dialects = await _open_dialects(engine, settings, targets, functions or {})
        published = await start_sinks(engine, settings, dialects)
        # apart from each other, since user code may block the loop that runs it
        inside = [one for dialect in dialects for one in dialect.functions]
        groups = (workers, _system_functions(settings, workers, targets), inside)
        server = make_server(
            _application(engine, settings, dialects, ports),
            host=settings.host,
            port=settings.port,
            drain_ms=settings.drain_ms,
            on_exit=engine.drain,
        )
        pools = [Workers(LocalTransport(engine), group) for group in groups if group]
        for pool in pools:
            pool.start()
        sockets = listeners(settings.host, [settings.port, *ports]) if ports else None
        serving = asyncio.create_task(server.serve(sockets))
        try:
            await until_started(server, serving)
            if on_ready is not None:
                news = [line for one in dialects for line in one.news]
                await on_ready(url_of(server), [*news, *published])
            await serving
        finally:
            await asyncio.gather(*(pool.drain(settings.drain_ms) for pool in pools))


async def _open_dialects(
    engine: Engine,
    settings: Settings,
    targets: "Targets",
    functions: "Mapping[str, Callable[..., Any]]",
) -> "list[Dialect]":
    """Return the front doors, with what runs beside them started."""
    from batuta.dialects import Host, open_dialects

    host = Host(
        engine=engine,
        targets=targets,
        functions=functions,
        delay_percent=settings.steps_delay_percent,
        api=_api(settings),
        github_secret=settings.github_webhook_secret,
        github_branches=settings.github_branches,
        flow_callback_secret=settings.flow_callback_secret,
        environment=os.environ,
        folder=data_folder(settings),
        media=engine.media,
        ai=_ai(settings),
        node_tasks_max=settings.node_tasks_max,
        graph_tasks_max=settings.graph_tasks_max,
        workflows_folder=Path(settings.workflows),
        jwt_secret=settings.jwt_secret,
        retry_interval_s=settings.workflows_retry_interval_ms / 1_000,
        retries_max=settings.workflows_retries_max,
    )
    dialects = await open_dialects(host)
    for dialect in dialects:
        for name, loop in dialect.loops.items():
            engine.supervisor.start(name, loop)
    return dialects


def alias_ports(settings: Settings) -> dict[int, str]:
    """Return the further ports to listen at, each with the front door alone there ("": all).

    Raises:
        InvalidError: The setting ``listen`` cannot be read.
    """
    from batuta.dialects import NAMES

    return read_alias_ports(settings, NAMES)


def _application(
    engine: Engine, settings: Settings, dialects: "Sequence[Dialect]", ports: Mapping[int, str]
) -> "App":
    from batuta.api import create_app
    from batuta.api.dispatch.page import Origins

    return create_app(
        engine,
        settings,
        mounts=[dialect.mount for dialect in dialects],
        ports={port: door for port, door in ports.items() if door},
        origins=Origins(settings.cors_origins, is_loopback=is_loopback(settings.host)),
    )


def _ai(settings: Settings) -> "Ai":
    from batuta.workers.media.ai import Ai

    return Ai(
        is_fake=settings.ai == "fake",
        openai_key=settings.openai_api_key,
        openai_base_url=settings.openai_base_url,
        fal_key=settings.fal_key,
        fal_run_host=settings.fal_run_host,
        fal_queue_run_host=settings.fal_queue_run_host,
        content_service_url=settings.content_service_url,
        ffmpeg=settings.ffmpeg,
        public_url=settings.public_url,
    )


def _api(settings: Settings) -> str:
    """Return what nodes mean by localhost:3000 when the operator says so, else ""."""
    if not settings.api_host and not settings.api_port:
        return ""
    port = settings.api_port or settings.port
    return f"http://{settings.api_host or 'localhost'}:{port}"


def _targets(settings: Settings) -> "Targets":
    """Return what HTTP tasks may call.

    Raises:
        InvalidError: The allow-list of targets cannot be read.
    """
    from batuta.workers.system.target import targets_of

    # behind a proxy we listen at a loopback address, and others reach us all the same
    is_shared = (
        not is_loopback(settings.host) or settings.allow_remote or bool(settings.allowed_hosts)
    )
    return targets_of(settings.http_allowed_targets, is_shared=is_shared)


def _system_functions(
    settings: Settings, workers: "Sequence[TaskFunction]", targets: "Targets"
) -> "Sequence[TaskFunction]":
    """Return what does HTTP tasks, unless the operator has others for that."""
    from batuta.workers.system.http import http_function

    if not settings.http_tasks_max or any(worker.task_type == "HTTP" for worker in workers):
        return ()
    return (http_function(targets, concurrency=settings.http_tasks_max),)
