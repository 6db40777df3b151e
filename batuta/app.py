"""The composition root: the only file that names concrete stores, and puts a node together."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from batuta import __version__
from batuta.config import Settings, is_loopback
from batuta.config.binding import alias_ports as read_alias_ports
from batuta.runtime.clock import StoreClock, wall_ms
from batuta.runtime.engine import Engine, EngineStore
from batuta.runtime.keep.keeper import Sweep
from batuta.runtime.sandbox.pool import Sandbox
from batuta.store.blob import BlobStore, Folder
from batuta.store.blob.upload import Uploads

if TYPE_CHECKING:
    from batuta.api.server import App
    from batuta.dialects import Dialect
    from batuta.store.sqlite.upkeep import Examined
    from batuta.workers.function import TaskFunction
    from batuta.workers.system.target import Targets

SWITCH_INTERVAL_S = 0.0001  # a writer thread waits this long for the interpreter at most; with
# Python's own 5 ms a batch that takes 2 ms took 14 (STACK.md 2, bench/micro/commit_sqlite.py)
# When to look for cycles: with Python's own (700, 10, 10) a third of a server's time went into
# looking through the runs in memory, up to 0.9 s at once; a step leaves no cycle behind
# (tests/counts/test_memory.py).
COLLECT_AFTER = (5_000, 20, 10)
NODE_BYTES = 3  # of a node's name; two nodes of one store must differ, a restart should

_log = logging.getLogger(__name__)


async def open_store(url: str) -> EngineStore:
    """Open the database that ``url`` names: a postgresql:// URL or the path of a SQLite file.

    Raises:
        StoreError: It cannot be opened; the message says why and what to do.
    """
    if is_postgres(url):
        from batuta.store.postgres import PostgresStore

        return await PostgresStore.open(url)
    from batuta.store.sqlite import SqliteStore

    path = Path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    return await SqliteStore.open(str(path), now_wall_ms=wall_ms)


async def migrate(settings: Settings) -> None:
    """Bring the database to this version's schema; SQLite also does so whenever it is opened."""
    if is_postgres(settings.db):
        from batuta.store.postgres import migrate as migrate_postgres

        await migrate_postgres(settings.db)
    else:
        store = await open_store(settings.db)
        await store.close()


def examine(settings: Settings) -> "Examined":
    """Look at a SQLite database that no server has; as ``upkeep.examine``."""
    from batuta.store.sqlite.upkeep import examine as examine_sqlite

    return examine_sqlite(Path(settings.db), blob_folder(settings))


def set_aside(path: Path, folder: Path) -> list[Path]:
    """Move a SQLite database that no server has into a new folder; as ``upkeep.set_aside``."""
    from batuta.store.sqlite.upkeep import set_aside as set_aside_sqlite

    return set_aside_sqlite(path, folder)


def is_postgres(url: str) -> bool:
    """Tell whether the setting ``db`` names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


def blob_folder(settings: Settings) -> Path | None:
    """Return where large payloads and uploads are kept; None: the database keeps them."""
    if settings.blob_folder:
        return Path(settings.blob_folder)
    if is_postgres(settings.db):
        return None
    path = Path(settings.db)
    return path.with_name(f"{path.name}-blobs")


def _sweeps(
    engine: Engine, blobs: BlobStore, folder: Path | None, settings: Settings
) -> Sequence[Sweep]:
    """Give the engine its uploads; return what removes files that nobody needs."""
    if folder is None:
        return ()
    uploads = Uploads(folder / "uploads", wall_ms=wall_ms, bytes_max=settings.upload_bytes_max)
    engine.uploads = uploads

    async def sweep_blobs() -> tuple[int, bool]:
        swept = await blobs.sweep()
        return swept.removed, swept.is_last

    async def sweep_uploads() -> tuple[int, bool]:
        return await uploads.sweep(), True

    return (sweep_blobs, sweep_uploads)


@contextlib.asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """Give a live engine on the configured store, without HTTP; drained at the end."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*COLLECT_AFTER)
    store = await open_store(settings.db)
    folder = blob_folder(settings)
    try:
        blobs = BlobStore(
            store,
            Folder(folder or Path("no-blobs")),
            # without a folder nothing is put there, but what is there is told from a payload
            blob_bytes_min=settings.blob_bytes_min if folder else sys.maxsize,
            wall_ms=wall_ms,
        )
        started_ms = await store.now_ms()
        offset_ms = started_ms - wall_ms() if is_postgres(settings.db) else 0
        clock = StoreClock(wall=lambda: wall_ms() + offset_ms, not_before_ms=started_ms)
        names = settings.expression_environment
        sandbox = Sandbox(script_ms_max=settings.script_ms_max)
        engine = Engine(
            cast("EngineStore", blobs),
            now_ms=clock.now_ms,
            scripts=sandbox,
            version=__version__,
            cache_bytes_max=settings.cache_bytes_max,
            environment={name: os.environ[name] for name in names if name in os.environ},
            is_strict=settings.strict,
            node=secrets.token_hex(NODE_BYTES),
            trouble_wait_s=settings.update_wait_ms / 1_000,
        )
        if not store.is_shared:
            taken_back_count = await engine.take_back_local_leases()
            if taken_back_count:
                _log.info(
                    "%d tasks that the last server's own workers held are ready again",
                    taken_back_count,
                )
        engine.start_loops()
        engine.keep(settings, _sweeps(engine, blobs, folder, settings))
        try:
            yield engine
        finally:
            await engine.stop()
            await sandbox.stop()
    finally:
        await store.close()


async def serve(
    settings: Settings,
    *,
    workers: "Sequence[TaskFunction]" = (),
    functions: "Mapping[str, Callable[..., Any]] | None" = None,
    on_ready: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain: no new work, what was accepted is finished.

    Args:
        workers: Task functions to run in this process.
        functions: What the steps of the step orchestrator call, besides its samples, by name.
        on_ready: Called with the server's URL once it listens.
    """
    from batuta.api.serving import listeners, make_server, until_started, url_of
    from batuta.dialects import Host, open_dialects
    from batuta.workers.local import LocalTransport
    from batuta.workers.loop import Workers

    targets, ports = _targets(settings), alias_ports(settings)
    async with open_engine(settings) as engine:
        percent, api = settings.steps_delay_percent, _api(settings)
        own = functions or {}
        host = Host(engine=engine, targets=targets, functions=own, delay_percent=percent, api=api)
        dialects = await open_dialects(host)
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
                await on_ready(url_of(server))
            await serving
        finally:
            await asyncio.gather(*(pool.drain(settings.drain_ms) for pool in pools))


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
