"""Puts an engine together on the configured store: the only file that names concrete stores."""

import contextlib
import gc
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from batuta import __version__
from batuta.config import Settings
from batuta.runtime.clock import StoreClock, wall_ms
from batuta.runtime.engine import Engine, EngineStore
from batuta.runtime.keep.keeper import Sweep
from batuta.runtime.sandbox.pool import Sandbox
from batuta.store.blob import BlobStore, Folder
from batuta.store.blob.media import MediaFiles
from batuta.store.blob.upload import Uploads

if TYPE_CHECKING:
    from batuta.store.sqlite.upkeep import Examined

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


def data_folder(settings: Settings) -> Path:
    """Return where files of the server stand: beside a SQLite database, else the default place."""
    return Path(".batuta") if is_postgres(settings.db) else Path(settings.db).parent


def _sweeps(
    engine: Engine,
    store: EngineStore,
    blobs: BlobStore,
    folder: Path | None,
    settings: Settings,
) -> Sequence[Sweep]:
    """Give the engine its uploads and media; return what removes files that nobody needs."""
    if folder is None:
        return ()
    uploads = Uploads(folder / "uploads", wall_ms=wall_ms, bytes_max=settings.upload_bytes_max)
    engine.uploads = uploads
    media = MediaFiles(folder / "media", wall_ms=wall_ms, bytes_max=settings.media_bytes_max)
    engine.media = media

    async def sweep_blobs() -> tuple[int, bool]:
        swept = await blobs.sweep()
        return swept.removed, swept.is_last

    async def sweep_uploads() -> tuple[int, bool]:
        return await uploads.sweep(), True

    return (sweep_blobs, sweep_uploads, lambda: media.sweep(partial(_find_gone, store)))


async def _find_gone(store: EngineStore, workflow_ids: Sequence[str]) -> set[str]:
    """Return which runs are not in the database; variables, which are small, say so of most."""
    gone = list(workflow_ids)
    for part in ("variables", "input"):
        found = await store.find_payloads([(one, 0, part) for one in gone])
        gone = [one for one, payload in zip(gone, found, strict=True) if payload is None]
    return set(gone)


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
        engine.keep(settings, _sweeps(engine, store, blobs, folder, settings))
        try:
            yield engine
        finally:
            await engine.stop()
            await sandbox.stop()
    finally:
        await store.close()
