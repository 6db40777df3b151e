"""Before the first write: one server, on a local disk, with the schema of this version."""

import fcntl
import os
from pathlib import Path

import apsw

from batuta.model.error import StoreError
from batuta.store.migrate import migrations, pending

# File systems of other machines: their locks and syncs do not keep what SQLite needs.
REMOTE_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ncpfs",
        "ceph",
        "lustre",
        "gfs2",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.davfs",
    }
)
_MOUNTS = Path("/proc/self/mounts")

_SCHEMA_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL
) STRICT
"""


class InUseError(StoreError):
    """Another process has the database."""


class Lock:
    """The file beside the database that only one server holds; gone with its process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another server in."""
        os.close(self._descriptor)


def take_lock(path: str) -> Lock:
    """Lock the database for this server.

    Raises:
        InUseError: Another server has it.
        StoreError: The folder cannot be written, or is on another machine's disk.
    """
    name = f"{path}.lock"
    refuse_remote(path)
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open {name!r}: {error.strerror}; the folder of the database must exist and"
            " be writable for this user"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise InUseError(
            f"{path!r} is in use by another batuta server (process {holder}); stop it, give this"
            " one a database of its own, or run both on PostgreSQL"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return Lock(descriptor)


def refuse_remote(path: str, mounts: Path = _MOUNTS) -> None:
    """Refuse a file on another machine's disk, where that can be known.

    Raises:
        StoreError: It is; SQLite's log works only where all processes share one memory.
    """
    if not mounts.exists():
        return
    folder = str(Path(path).resolve().parent)
    kind, point = "", ""
    for line in mounts.read_text("utf-8", "replace").splitlines():
        words = line.split(" ")
        where = words[1].replace("\\040", " ")
        inside = folder == where or folder.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(point):
            kind, point = words[2], where
    if kind in REMOTE_FILE_SYSTEMS:
        raise StoreError(
            f"{path!r} is on a network file system ({kind}, mounted at {point!r}), where SQLite"
            " may lose or damage data; use a local disk, or PostgreSQL"
        )


def migrate(connection: apsw.Connection, path: str) -> None:
    """Bring the schema to this version, in one transaction.

    Raises:
        StoreError: The file is of a newer version, of another program, or not a database.
    """
    try:
        has_tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreError(
            f"{path!r} is not a SQLite database or is damaged ({error}); name another file or"
            " restore a backup"
        ) from error
    if has_tables and not connection.table_exists("main", "schema_migration"):
        raise StoreError(f"{path!r} is the database of another program; name another file")
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_SCHEMA_TABLE)
        rows = connection.execute("SELECT number, checksum FROM schema_migration").fetchall()
        applied = {int(str(number)): str(checksum) for number, checksum in rows}
        for one in pending(migrations("sqlite"), applied):
            connection.execute(one.sql)
            connection.execute(
                "INSERT INTO schema_migration VALUES (?, ?, ?)",
                (one.number, one.name, one.checksum),
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
