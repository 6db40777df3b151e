"""Looking after a database that no server has: examine it, or put it aside."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from batuta.model.error import NotFoundError, StoreError
from batuta.store.migrate import migrations, pending
from batuta.store.sqlite.opening import InUseError, take_lock
from batuta.store.sqlite.scan import connect, scan

# What belongs to one database: what SQLite keeps of it, and the folder of its large payloads.
SIDE_FILES = ("", "-wal", "-shm", "-blobs")


_QUARANTINED = """
SELECT count(*) FROM (
    SELECT retry_at FROM send WHERE attempts > 0 UNION ALL
    SELECT retry_at FROM timer WHERE attempts > 0 UNION ALL
    SELECT retry_at FROM lease WHERE attempts > 0
) WHERE retry_at IS NULL
"""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What a database is like: its schema and the newest known one, and what is wrong in it.

    ``faults`` is None when its schema is older than ours: the next server migrates it first. With
    ``held``, which says by whom, a server has it and nothing else is known.
    """

    held: str = ""
    schema: int = 0
    schema_newest: int = 0
    run_count: int = 0
    quarantined_count: int = 0
    faults: list[str] | None = None


def examine(path: Path, blobs: Path | None = None) -> Examined:
    """Look at a database while no server can open it. Nothing is changed.

    Args:
        blobs: The folder of its large payloads; None: the one beside it.

    Raises:
        NotFoundError: There is none yet.
        StoreError: It cannot be read.
    """
    try:
        with _locked(path):
            return _examined(path, blobs)
    except InUseError as error:
        return Examined(held=error.message)
    except apsw.Error as error:
        raise StoreError(f"{str(path)!r} cannot be read: {error}") from error


def set_aside(path: Path, folder: Path) -> list[Path]:
    """Move a database with its log into a new folder beside it, while no server can open it.

    Returns:
        The files where they are now.

    Raises:
        NotFoundError: There is none.
        StoreError: A server has it; the message says which process.
        OSError: The folder exists already or cannot be written.
    """
    with _locked(path):
        folder.mkdir(parents=True)
        # What is in the log is brought into the file, so that moving one file moves everything.
        # A damaged one is moved as it is, with its log.
        with (
            contextlib.suppress(apsw.Error),
            contextlib.closing(apsw.Connection(str(path))) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        moved = []
        for suffix in SIDE_FILES:
            source = path.with_name(path.name + suffix)
            if source.exists():
                moved.append(source.rename(folder / source.name))
        return moved


def _examined(path: Path, blobs: Path | None) -> Examined:
    with contextlib.closing(connect(path)) as connection:
        if not connection.table_exists("main", "schema_migration"):
            raise StoreError(f"{str(path)!r} is the database of another program")
        rows = connection.execute("SELECT number, checksum FROM schema_migration")
        applied = {int(str(number)): str(checksum) for number, checksum in rows}
        count = connection.execute("SELECT count(*) FROM workflow").get
        known = migrations("sqlite")
        is_current = not pending(known, applied)
        quarantined = connection.execute(_QUARANTINED).get if is_current else 0
    return Examined(
        schema=max(applied, default=0),
        schema_newest=known[-1].number,
        run_count=int(str(count)),
        quarantined_count=int(str(quarantined)),
        faults=scan(path, blobs) if is_current else None,
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if not path.exists():
        raise NotFoundError(f"there is no database {str(path)!r}")
    lock = take_lock(str(path))
    try:
        yield
    finally:
        lock.release()
