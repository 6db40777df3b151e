"""Connections to one PostgreSQL database: timeouts, retries, and what its errors mean.

A transaction is tried again only when it is known to be rolled back: a deadlock, a
serialization failure, rows that moved under it, a connection lost before COMMIT was sent.
Whatever happens while COMMIT is under way has an unknown outcome and is a StoreError.
"""

import contextlib
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from batuta.model.error import StoreError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection, Pool
    from asyncpg import Record as DriverRecord
    from asyncpg.pool import PoolConnectionProxy

T = TypeVar("T")

CONNECTIONS_MAX = 8  # two commits overlap; the rest are short reads
TRIES_MAX = 5  # of one transaction; each time something else has gone ahead
CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 20  # longer than the server's own, so that this one means a dead network
STATEMENT_TIMEOUT_MS = 15_000  # a statement of a full batch takes some 20 ms
LOCK_TIMEOUT_MS = 5_000  # a lock is held for one commit of another node
IDLE_TIMEOUT_MS = 10_000  # a node that stalls inside a transaction must not hold its rows

# Deadlock and serialization failure: the server has rolled back, whatever we were doing.
_ROLLED_BACK = frozenset({"40P01", "40001"})


class Record(Protocol):
    """A row as the driver gives it."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""
        ...


class MovedError(Exception):
    """Rows changed between reading and locking them; the transaction starts again."""


class _AgainError(Exception):
    """The transaction is known to be rolled back and may succeed when tried again."""


class Session:
    """One transaction's connection. Counts what goes through it."""

    def __init__(
        self,
        connection: "Connection[DriverRecord] | PoolConnectionProxy[DriverRecord]",
        counters: dict[str, int],
    ) -> None:
        self._connection = connection
        self._counters = counters

    async def run(self, sql: str, *arguments: object) -> int:
        """Run a statement that writes and return how many rows it says it wrote."""
        self._counters["statements"] += 1
        status = await self._connection.execute(sql, *arguments)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def rows(self, sql: str, *arguments: object) -> "Sequence[Record]":
        """Run a statement and return its rows."""
        self._counters["statements"] += 1
        return await self._connection.fetch(sql, *arguments)

    async def value(self, sql: str, *arguments: object) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        self._counters["statements"] += 1
        return await self._connection.fetchval(sql, *arguments)

    def wrote(self, count: int) -> None:
        """Add to the count of rows written."""
        self._counters["rows_written"] += count


class Link:
    """Owns the pool of connections. Made by ``connect``."""

    def __init__(self, driver: ModuleType, pool: "Pool[DriverRecord]") -> None:
        self._driver = driver
        self._pool = pool
        self._is_closed = False
        self._errors = (driver.PostgresError, driver.InterfaceError, OSError)
        self.counters = {
            "commits": 0,
            "batches": 0,
            "statements": 0,
            "rows_written": 0,
            "transactions_retried": 0,
        }

    async def write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run ``work`` in one READ COMMITTED transaction; return once it is durable.

        ``work`` may run several times, each time from the start.

        Raises:
            StoreError: It failed, or nobody knows whether it was committed.
        """
        return await self._repeat(work, isolation="read_committed", is_read=False)

    async def read(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run ``work``, whose statements all see one snapshot.

        Raises:
            StoreError: The database could not be read.
        """
        return await self._repeat(work, isolation="repeatable_read", is_read=True)

    async def close(self) -> None:
        """Wait for the transactions in flight, then close all connections. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(*self._errors):
            await self._pool.close()

    async def _repeat(
        self, work: Callable[[Session], Awaitable[T]], *, isolation: str, is_read: bool
    ) -> T:
        last: BaseException | None = None
        for _ in range(TRIES_MAX):
            try:
                return await self._try(work, isolation=isolation, is_read=is_read)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                told = f"postgresql: a stored row cannot be read: {error}"
                raise UnreadableError(told) from error
            except (_AgainError, MovedError) as error:
                last = error.__cause__ or error
                self.counters["transactions_retried"] += 1
        raise StoreError(f"postgresql: gave up after {TRIES_MAX} tries: {last!r}") from last

    async def _try(
        self, work: Callable[[Session], Awaitable[T]], *, isolation: Any, is_read: bool
    ) -> T:
        if self._is_closed:
            raise StoreError("the postgresql store is closed")
        is_lost = is_committing = False
        try:
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                transaction = connection.transaction(isolation=isolation, readonly=is_read)
                self.counters["statements"] += 2  # BEGIN and COMMIT
                try:
                    await transaction.start()
                    answer = await work(Session(connection, self.counters))
                except BaseException:
                    is_lost = self._is_lost(connection)
                    # What failed is raised; a connection that is gone cannot roll back.
                    with contextlib.suppress(*self._errors):
                        await transaction.rollback()
                    raise
                is_committing = not is_read
                await transaction.commit()
                return answer
        except self._errors as error:
            if getattr(error, "sqlstate", None) in _ROLLED_BACK or is_lost:
                raise _AgainError from error
            outcome = "; it may be committed" if is_committing else ""
            raise StoreError(f"postgresql: {error or error!r}{outcome}") from error

    def _is_lost(self, connection: "PoolConnectionProxy[DriverRecord]") -> bool:
        try:
            return connection.is_closed()
        except self._driver.InterfaceError:
            return True  # the pool has taken it back already, because it was lost


async def connect(url: str, *, connections_max: int = CONNECTIONS_MAX) -> Link:
    """Open the pool of connections to the database at ``url``.

    Raises:
        StoreError: The driver is not installed, or the database does not answer.
    """
    driver = _driver()
    settings = {
        "application_name": "batuta",
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
        # Every statement of ours has its index; compiling them costs more than running them,
        # and a table without statistics yet must not be read whole.
        "jit": "off",
        "enable_seqscan": "off",
    }
    try:
        pool = await driver.create_pool(
            url,
            min_size=1,
            max_size=connections_max,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=settings,
            reset=_keep,
        )
    except (driver.PostgresError, driver.InterfaceError, OSError, ValueError) as error:
        raise StoreError(f"cannot open the postgresql database: {error or error!r}") from error
    return Link(driver, pool)


def _driver() -> ModuleType:
    try:
        import asyncpg  # noqa: PLC0415 - an extra: only who uses PostgreSQL installs it
    except ImportError as error:
        raise StoreError(
            "PostgreSQL needs the package asyncpg; run `pip install batuta[postgres]`"
        ) from error
    return asyncpg


async def _keep(_connection: object) -> None:
    """Leave a returned connection as it is: we change no session state, so one trip is saved."""
