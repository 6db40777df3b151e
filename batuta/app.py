"""The composition root: the only file that names concrete stores, and puts a node together."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batuta import __version__
from batuta.config import Settings
from batuta.runtime.clock import StoreClock, wall_ms
from batuta.runtime.engine import Engine, EngineStore
from batuta.runtime.sandbox.pool import Sandbox

if TYPE_CHECKING:
    import uvicorn

    from batuta.workers.function import TaskFunction

SWITCH_INTERVAL_S = 0.0001  # a writer thread waits this long for the interpreter at most; with
# Python's own 5 ms a batch that takes 2 ms took 14 (STACK.md 2, bench/micro/commit_sqlite.py)
LISTEN_BACKLOG = 2_048
NODE_BYTES = 3  # of a node's name; two nodes of one store must differ, a restart should
HEARD_S = 0.25  # after the listener closed; by then the requests heard before have been begun
KEEP_ALIVE_S = 75  # longer than the pool time-outs of the SDKs, so that they close first

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


def is_postgres(url: str) -> bool:
    """Tell whether the setting ``db`` names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


@contextlib.asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """Give a live engine on the configured store, without HTTP; drained at the end."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    store = await open_store(settings.db)
    try:
        started_ms = await store.now_ms()
        offset_ms = started_ms - wall_ms() if is_postgres(settings.db) else 0
        clock = StoreClock(wall=lambda: wall_ms() + offset_ms, not_before_ms=started_ms)
        names = settings.expression_environment
        sandbox = Sandbox(script_ms_max=settings.script_ms_max)
        engine = Engine(
            store,
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
    on_ready: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain: no new work, what was accepted is finished.

    Args:
        workers: Task functions to run in this process.
        on_ready: Called with the server's URL once it listens.
    """
    from batuta.api import create_app

    async with open_engine(settings) as engine:
        server = _server(create_app(engine, settings), settings, engine.drain)
        pool = None
        if workers:
            from batuta.workers.local import LocalTransport
            from batuta.workers.loop import Workers

            pool = Workers(LocalTransport(engine), workers)
            pool.start()
        serving = asyncio.create_task(server.serve())
        try:
            await _until_started(server, serving)
            if on_ready is not None:
                await on_ready(_url(server, settings))
            await serving
        finally:
            if pool is not None:
                await pool.drain(settings.drain_ms)


def _server(
    application: Callable[..., Awaitable[None]], settings: Settings, on_exit: Callable[[], None]
) -> "uvicorn.Server":
    import uvicorn

    from batuta.api.protocol import OneWriteProtocol

    class Server(uvicorn.Server):
        """Stops by closing the listener first, so that clients see a refused connection."""

        def stop_by(self, number: int) -> None:
            """Begin to stop: no further connection, nor a further request on those there are.

            What was heard before is served; then whoever waits in a long poll is answered.
            """
            self.handle_exit(number, None)
            for listener in getattr(self, "servers", ()):
                listener.close()
            for connection in list(self.server_state.connections):
                connection.shutdown()
            asyncio.get_running_loop().call_later(HEARD_S, on_exit)

        @contextlib.contextmanager
        def capture_signals(self):  # type: ignore[no-untyped-def]  # noqa: ANN202  uvicorn's own
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop_by, number)
            try:
                yield
            finally:
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)

    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=OneWriteProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=LISTEN_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(settings.drain_ms // 1_000, 1),
    )
    return Server(config)


async def _until_started(server: "uvicorn.Server", serving: "asyncio.Task[None]") -> None:
    while not server.started:
        done, _ = await asyncio.wait({serving}, timeout=0.01)
        if done:
            serving.result()
            raise OSError("the server could not start; the log above says why")


def _url(server: "uvicorn.Server", settings: Settings) -> str:
    port = settings.port
    for listener in server.servers:
        for socket in listener.sockets:
            port = socket.getsockname()[1]
    host = settings.host if ":" not in settings.host else f"[{settings.host}]"
    return f"http://{host}:{port}"

