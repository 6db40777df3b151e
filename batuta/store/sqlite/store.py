"""The SQLite store itself: the protocols of ``store/base.py`` over three connections."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import apsw

from batuta.model.execution import Lease, Workflow
from batuta.model.limit import LimitUse
from batuta.model.payload import Payload
from batuta.store.base import (
    Batch,
    Committed,
    Document,
    Due,
    JournalRow,
    Loaded,
    LogLine,
    QueueDepth,
)
from batuta.store.failing import FAILING_MAX, Failing
from batuta.store.keep import Ended
from batuta.store.merge import merge
from batuta.store.query.tree import FoundTask, Page, Query, Sort
from batuta.store.sqlite import catalog, find, reading
from batuta.store.sqlite.connection import ConnectionThread, open_connection
from batuta.store.sqlite.cursor.table import SqliteCursors
from batuta.store.sqlite.due import read as due_read
from batuta.store.sqlite.due import write as due_write
from batuta.store.sqlite.keep import purge
from batuta.store.sqlite.limit import room
from batuta.store.sqlite.opening import Lock, migrate, take_lock
from batuta.store.sqlite.trigger import PREPARE
from batuta.store.sqlite.writing import Writer, forget_sends, parameters

# Pages of the log (4 KiB each) from which on it is copied into the database: when nothing
# waits, and in any case. Measured: 4 ms for a thousand, 10 for four thousand, so that the
# second is the longest pause of the writer and bounds the file.
CHECKPOINT_PAGES = 1_000
CHECKPOINT_PAGES_MAX = 4_000

_LAST_TIME = """
SELECT max(
    coalesce((SELECT at FROM journal ORDER BY position DESC LIMIT 1), 0),
    coalesce((SELECT max(polled_at) FROM lease), 0),
    CAST(unixepoch('subsec') * 1000 AS INTEGER) * :is_clock
)
"""


class SqliteStore:
    """Keeps everything in one file. See the package for how, ``open`` for the beginning."""

    name = "sqlite"
    is_shared = False

    def __init__(self, path: str, lock: Lock) -> None:
        self._path = path
        self._lock: Lock | None = lock
        self._committed_at_ms = 0
        self._clock: Callable[[], int] = lambda: 0
        self._written = Writer()
        self._checkpoints = 0
        self._rows_before = 0
        self._writer = ConnectionThread("batuta-sqlite-write", self._connect_writer, self._tidy)
        reader = partial(open_connection, path, is_writer=False)
        self._reader = ConnectionThread("batuta-sqlite-read", reader)
        self._searcher = ConnectionThread("batuta-sqlite-search", reader)
        self.cursors = SqliteCursors(self._writer, self._reader)

    @classmethod
    async def open(
        cls, path: str, *, now_wall_ms: Callable[[], int] | None = None
    ) -> "SqliteStore":
        """Open the database, create or migrate it, and hold it until ``close``.

        Args:
            path: Of the file; its folder must exist.
            now_wall_ms: The clock, Unix ms. Without one: the time of day at this moment and
                what has passed since then.

        Raises:
            StoreError: Another server has it, it cannot be written, it is on a network file
                system, or of a newer version. The message says what to do.
        """
        store = cls(path, take_lock(path))
        try:
            last_ms = await store._writer.run(
                lambda connection: (
                    connection.execute(_LAST_TIME, {"is_clock": now_wall_ms is None}).get
                )
            )
        except BaseException:
            await store.close()
            raise
        store._committed_at_ms = last_ms
        store._clock = now_wall_ms or _running_clock(last_ms)
        return store

    async def load(self, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
        """Return the runs that exist; see ``Store.load``."""
        return await self._reader.run(lambda connection: reading.load(connection, known))

    async def fetch(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload]:
        """Return payloads with their bytes; see ``Store.fetch``."""
        return await self._reader.run(lambda connection: reading.fetch(connection, wanted))

    async def commit(self, batch: Batch) -> Committed:
        """Write the batch in one transaction; see ``Store.commit``."""
        self._committed_at_ms = max(self._committed_at_ms, batch.now_ms)
        written = parameters(batch, merge(batch))
        return await self._writer.run(
            lambda connection: self._written.write(connection, batch, written)
        )

    async def settled(self, wanted: Sequence[tuple[str, int, str]]) -> list[bool]:
        """Say whether the journal holds these requests; see ``Store.settled``."""
        # By the writer: so the answer comes after every commit that was asked for before.
        return await self._writer.run(lambda connection: reading.settled(connection, wanted))

    async def due(self, until_ms: int, limit: int) -> Due:
        """Return what wants a command; see ``Store.due``."""
        return await self._reader.run(lambda connection: due_read.due(connection, until_ms, limit))

    async def note_failure(self, failing: Failing) -> bool:
        """Write a failure into its row; see ``Quarantine.note_failure``."""
        return await self._writer.run(
            lambda connection: due_write.note_failure(connection, failing)
        )

    async def failing(
        self, workflow_id: str | None = None, *, limit: int = FAILING_MAX
    ) -> list[Failing]:
        """Return the rows that have failed; see ``Quarantine.failing``."""
        return await self._reader.run(
            lambda connection: due_read.failing(connection, workflow_id, limit)
        )

    async def rearm(self, workflow_id: str | None = None) -> int:
        """Let quarantined rows be due again; see ``Quarantine.rearm``."""
        return await self._writer.run(lambda connection: due_write.rearm(connection, workflow_id))

    async def held_by(self, worker_id: str) -> list[Lease]:
        """Return a worker's leases; see ``Store.held_by``."""
        return await self._reader.run(lambda connection: reading.held_by(connection, worker_id))

    async def forget_sends(self, workflow_id: str) -> bool:
        """Delete the Sends for a run that is not there; see ``Store.forget_sends``."""
        return await self._writer.run(lambda connection: forget_sends(connection, workflow_id))

    async def find_task(self, task_id: str) -> str | None:
        """Return the id of the run that has this task, or None."""
        return await self._reader.run(lambda connection: reading.find_task(connection, task_id))

    async def now_ms(self) -> int:
        """Return the clock's time, or the highest time committed or told when that is later."""
        self._committed_at_ms = max(self._clock(), self._committed_at_ms)
        return self._committed_at_ms

    async def close(self) -> None:
        """Finish what waits, close the connections, let another server in. Idempotent."""
        for thread in (self._searcher, self._reader, self._writer):
            await thread.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def put_documents(self, documents: Sequence[Document], *, overwrite: bool) -> list[bool]:
        """Store all documents or none; see ``Catalog.put_documents``."""
        return await self._writer.run(
            lambda connection: catalog.put_documents(connection, documents, overwrite=overwrite)
        )

    async def get_document(self, kind: str, name: str, version: int = 0) -> Document | None:
        """Return a document; version 0 means the highest."""
        found = await self._reader.run(
            lambda connection: catalog.documents(connection, kind, name, version)
        )
        return found[-1] if found else None

    async def list_documents(self, kind: str, name: str | None = None) -> list[Document]:
        """Return all versions of all documents of a kind, by name and version."""
        return await self._reader.run(lambda connection: catalog.documents(connection, kind, name))

    async def delete_document(self, kind: str, name: str, version: int = 0) -> bool:
        """Delete one version (0: all); False when there was none."""
        return await self._writer.run(
            lambda connection: catalog.delete_document(connection, kind, name, version)
        )

    async def put_snapshot(self, digest: str, body: bytes) -> None:
        """Keep a definition snapshot under its content hash; again is the same."""
        await self._writer.run(lambda connection: catalog.put_snapshot(connection, digest, body))

    async def get_snapshot(self, digest: str) -> bytes | None:
        """Return a snapshot's body, or None."""
        return await self._reader.run(lambda connection: catalog.get_snapshot(connection, digest))

    async def read_after(
        self, position: int, *, limit: int, workflow_id: str | None = None
    ) -> list[JournalRow]:
        """Return rows after ``position`` (0 = from the start), oldest first."""
        return await self._reader.run(
            lambda connection: reading.read_after(connection, position, limit, workflow_id)
        )

    async def ended_names(self) -> list[str]:
        """Return the names of the workflows that have ended runs, in order."""
        return await self._searcher.run(purge.ended_names)

    async def find_ended(
        self, name: str, statuses: Sequence[str], *, before_ms: int, keep_count: int, limit: int
    ) -> list[Ended]:
        """Return runs that are to go; see ``Keep.find_ended``."""
        return await self._searcher.run(
            lambda connection: purge.find_ended(
                connection,
                name,
                statuses,
                before_ms=before_ms,
                keep_count=keep_count,
                limit=limit,
            )
        )

    async def purge(self, runs: Sequence[Ended], *, now_ms: int, rows_max: int) -> list[str]:
        """Remove runs that are as they were found; see ``Keep.purge``."""
        self._committed_at_ms = max(self._committed_at_ms, now_ms)
        return await self._writer.run(
            lambda connection: purge.purge(connection, runs, now_ms=now_ms, rows_max=rows_max)
        )

    async def purge_retired(self, *, before_ms: int, rows_max: int) -> int:
        """Delete retired tasks; see ``Keep.purge_retired``."""
        return await self._writer.run(
            lambda connection: purge.purge_retired(
                connection, before_ms=before_ms, rows_max=rows_max
            )
        )

    async def purge_removed(
        self, *, before_ms: int, position_max: int | None, rows_max: int
    ) -> int:
        """Delete what is left of removed runs; see ``Keep.purge_removed``."""
        return await self._writer.run(
            lambda connection: purge.purge_removed(
                connection, before_ms=before_ms, position_max=position_max, rows_max=rows_max
            )
        )

    async def find_payloads(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload | None]:
        """Return payloads with their bytes, None for each that does not exist."""
        return await self._reader.run(lambda connection: reading.find_payloads(connection, wanted))

    async def search(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[Workflow]:
        """Return a page of the runs that match; see ``Search.search``."""
        return await self._searcher.run(
            lambda connection: find.find_workflows(
                connection, query, sort=sort, start=start, size=size
            )
        )

    async def search_tasks(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[FoundTask]:
        """Return a page of the tasks that match; see ``Search.search_tasks``."""
        return await self._searcher.run(
            lambda connection: find.find_tasks(connection, query, sort=sort, start=start, size=size)
        )

    async def recent(self, *, limit: int, status: str | None = None) -> list[Workflow]:
        """Return the newest runs by creation."""
        return await self._searcher.run(
            lambda connection: catalog.recent(connection, limit, status)
        )

    async def counts(self) -> dict[str, int]:
        """Return how many runs have each status, as far as they are counted."""
        return await self._searcher.run(catalog.counts)

    async def queues(self) -> list[QueueDepth]:
        """Return the queues that have ready or leased tasks, by name."""
        return await self._searcher.run(catalog.queues)

    async def parts(self) -> list[str]:
        """Return the parts of queues that have ready tasks, by name."""
        return await self._searcher.run(room.parts)

    async def limit_use(self, key: str, since_ms: int) -> LimitUse:
        """Return how many tasks of a limit's key are held, and were taken after a time."""
        return await self._searcher.run(lambda connection: room.use(connection, key, since_ms))

    async def logs(self, task_id: str) -> list[LogLine]:
        """Return a task's log, oldest first."""
        return await self._searcher.run(lambda connection: catalog.logs(connection, task_id))

    async def statistics(self) -> dict[str, Any]:
        """Return what was done since the start, by the thread that did it.

        ``statements`` are calls of SQLite for batches; ``rows_written`` counts table rows
        inserted, changed and deleted; ``refusals`` batches of which a decision was refused.
        """
        return await self._writer.run(self._count)

    def _count(self, connection: apsw.Connection) -> dict[str, Any]:
        written = self._written
        return {
            "commits": written.commits,
            "batches": written.batches,
            "statements": written.statements,
            "refusals": written.refusals,
            "rows_written": connection.total_changes() - self._rows_before - written.temporary_rows,
            "checkpoints": self._checkpoints,
        }

    def _connect_writer(self) -> apsw.Connection:
        connection = open_connection(self._path, is_writer=True)
        migrate(connection, self._path)
        connection.execute(PREPARE)
        self._rows_before = connection.total_changes()
        return connection

    def _tidy(self, connection: apsw.Connection) -> None:
        """Copy the log into the database when it has grown, rather while nobody waits."""
        pages, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        limit = CHECKPOINT_PAGES_MAX if self._writer.has_waiting else CHECKPOINT_PAGES
        if pages - copied >= limit:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._checkpoints += 1


def _running_clock(start_ms: int) -> Callable[[], int]:
    begun_s = time.monotonic()
    return lambda: start_ms + int((time.monotonic() - begun_s) * 1_000)
