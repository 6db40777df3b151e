"""A connection to the database and the thread that it belongs to."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import apsw
import msgspec

from batuta.model.error import StoreError, UnreadableError

BUSY_WAIT_MS = 5_000  # for a person's own sqlite3 shell; our own threads never wait for a lock
CACHE_KIB = 57_344  # pages of the database that the writer keeps in memory
READER_CACHE_KIB = 16_384  # a reader's share: the runs that are worked on are in the engine's cache
STATEMENTS_MAX = 200  # prepared statements kept; we have some forty

# SQLite counts every allocation under one lock, for statistics that nobody asks for here: a
# tenth of the writer's time. That is a setting of the process, and is left where another user of
# the library has a database open.
if not apsw.connections():
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_MEMSTATUS, False)  # noqa: FBT003  as the library has it
    apsw.initialize()

_T = TypeVar("_T")
_Job = tuple[Callable[[apsw.Connection], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class ConnectionThread:
    """One connection, used by one thread, in the order of ``run`` calls.

    Args:
        name: Of the thread.
        connect: Opens the connection; called in the thread.
        idle: Called after each job, when its caller has been answered.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], apsw.Connection],
        idle: Callable[[apsw.Connection], None] | None = None,
    ) -> None:
        self._connect = connect
        self._idle = idle
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._is_closed = False
        self._thread.start()

    def run(self, job: Callable[[apsw.Connection], _T]) -> asyncio.Future[_T]:
        """Run a job in the thread and return its answer, to be awaited.

        Raises:
            StoreError: The database failed, or the thread has been closed.
        """
        if self._is_closed:
            raise StoreError("the sqlite store is closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        self._jobs.put((job, answer, loop))
        return answer

    async def close(self) -> None:
        """Finish the jobs that wait, close the connection, end the thread. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        connection: apsw.Connection | None = None
        while (waiting := self._jobs.get()) is not None:
            job, answer, loop = waiting
            try:
                if connection is None:
                    connection = self._connect()
                outcome = job(connection)
            # The top of a loop: whatever a job raises is its caller's, and the thread goes on.
            except BaseException as error:  # noqa: BLE001
                _tell(loop, answer, None, as_store_error(error))
            else:
                _tell(loop, answer, outcome, None)
            if self._idle is not None and connection is not None:
                # It answers nobody: a failure shows in the next job, which meets the same cause.
                with contextlib.suppress(apsw.Error):
                    self._idle(connection)
        if connection is not None:
            # Closing copies the log, which fails on a full or broken disk. Nothing is lost by it:
            # the log stays beside the file, and the next start reads it.
            with contextlib.suppress(apsw.Error):
                connection.close()

    @property
    def has_waiting(self) -> bool:
        """True while jobs wait behind the present one."""
        return not self._jobs.empty()


def as_store_error(error: BaseException) -> BaseException:
    """Return what a caller of the store gets: a StoreError for whatever the database did.

    An UnreadableError when it gave what nobody can read: that says nothing about other rows.
    """
    match error:
        case apsw.Error():
            told = f"{type(error).__name__}: {error}{_HINTS.get(type(error), '')}"
        case msgspec.MsgspecError() | UnicodeDecodeError():
            unreadable = UnreadableError(
                f"sqlite: a stored row cannot be read: {error}; `batuta doctor` names it"
            )
            unreadable.__cause__ = error
            return unreadable
        case OSError():
            told = str(error)
        case _:
            return error
    store_error = StoreError(f"sqlite: {told}")
    store_error.__cause__ = error
    return store_error


_HINTS: dict[type[BaseException], str] = {
    apsw.FullError: "; the disk is full: make room, nothing was lost",
    apsw.ReadOnlyError: "; the file or its folder cannot be written: check its permissions",
    apsw.BusyError: "; another program holds the database: close it",
    apsw.CorruptError: "; the file is damaged: restore a backup",
    apsw.NotADBError: "; the file is not a SQLite database: name another one",
}


def _tell(
    loop: asyncio.AbstractEventLoop,
    answer: asyncio.Future[Any],
    outcome: Any,
    error: BaseException | None,
) -> None:
    # A loop that has been closed has nobody left to tell.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, answer, outcome, error)


def _settle(answer: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if answer.cancelled():
        return
    if error is None:
        answer.set_result(outcome)
    else:
        answer.set_exception(error)


def open_connection(path: str, *, is_writer: bool) -> apsw.Connection:
    """Open the database file with the settings that our promises rest on.

    Raises:
        StoreError: SQLite did not take a setting: the journal mode or the level of syncing.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if is_writer else 0)
    connection = apsw.Connection(path, flags=flags, statementcachesize=STATEMENTS_MAX)
    connection.set_busy_timeout(BUSY_WAIT_MS)
    connection.wal_autocheckpoint(0)  # the writer does it between batches
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB if is_writer else READER_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA mmap_size = 0")  # a mapped file turns an I/O error into a crash
    if not is_writer:
        connection.execute("PRAGMA query_only = ON")
        return connection
    mode = connection.execute("PRAGMA journal_mode = WAL").get
    connection.execute("PRAGMA synchronous = FULL")
    level = connection.execute("PRAGMA synchronous").get
    if mode != "wal" or level != _FULL:
        raise StoreError(
            f"sqlite: {path!r} runs with journal_mode {mode!r} and synchronous {level!r} where"
            " 'wal' and 2 are needed to keep what was acknowledged; use a local disk"
        )
    return connection


_FULL = 2  # PRAGMA synchronous: sync the log at every commit
