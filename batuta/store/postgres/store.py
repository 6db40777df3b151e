"""The PostgreSQL store: the protocols of ``store/base.py``, each method one transaction."""

from collections.abc import Sequence
from functools import partial
from typing import Any

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
from batuta.store.postgres import catalog, find, read, schema, search
from batuta.store.postgres.commit import commit, forget_sends
from batuta.store.postgres.cursor.table import PostgresCursors
from batuta.store.postgres.due import read as due_read
from batuta.store.postgres.due import write as due_write
from batuta.store.postgres.keep import purge
from batuta.store.postgres.limit import room
from batuta.store.postgres.link import CONNECTIONS_MAX, Link, Session, connect
from batuta.store.query.tree import FoundTask, Page, Query, Sort

# What decides whether a commit survives a crash of the server; shown, never changed by us.
_SETTINGS = ("server_version", "synchronous_commit", "fsync", "full_page_writes")


class PostgresStore:
    """Keeps runs in a PostgreSQL database that several nodes may use at once.

    Made by ``open``. An answer is durable as far as the server's ``synchronous_commit`` goes,
    which is read at open and reported by ``statistics``.
    """

    name = "postgresql"
    is_shared = True

    def __init__(self, link: Link, settings: dict[str, str]) -> None:
        self._link = link
        self._settings = settings
        self.cursors = PostgresCursors(link)

    @classmethod
    async def open(cls, url: str, *, connections_max: int = CONNECTIONS_MAX) -> "PostgresStore":
        """Connect to a migrated database.

        Args:
            url: ``postgresql://user:password@host:port/database``, as libpq reads it.
            connections_max: How many connections this node may hold; two commits may overlap.

        Raises:
            StoreError: The driver is not installed (``pip install batuta[postgres]``), the
                database does not answer, or ``batuta migrate`` is still to be run.
        """
        link = await connect(url, connections_max=connections_max)
        try:
            await link.read(schema.check)
            settings = await link.read(_read_settings)
        except BaseException:
            await link.close()
            raise
        return cls(link, settings)

    async def load(self, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
        """Return the runs that exist, of one instant; see ``Store.load``."""
        return await self._link.read(partial(read.load, known=known))

    async def fetch(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload]:
        """Return payloads with their bytes; see ``Store.fetch``."""
        return await self._link.read(partial(read.fetch, wanted=wanted))

    async def commit(self, batch: Batch) -> Committed:
        """Write the batch in one transaction; see ``Store.commit``."""
        committed = await self._link.write(partial(commit, batch=batch))
        self._link.counters["commits"] += 1
        self._link.counters["batches"] += 1
        return committed

    async def settled(self, wanted: Sequence[tuple[str, int, str]]) -> list[bool]:
        """Say whether the journal holds these requests; see ``Store.settled``."""
        return await self._link.read(partial(read.settled, wanted=wanted))

    async def due(self, until_ms: int, limit: int) -> Due:
        """Return what wants a command; see ``Store.due``."""
        return await self._link.read(partial(due_read.due, until_ms=until_ms, limit=limit))

    async def note_failure(self, failing: Failing) -> bool:
        """Write a failure into its row; see ``Quarantine.note_failure``."""
        return await self._link.write(partial(due_write.note_failure, failing=failing))

    async def failing(
        self, workflow_id: str | None = None, *, limit: int = FAILING_MAX
    ) -> list[Failing]:
        """Return the rows that have failed; see ``Quarantine.failing``."""
        work = partial(due_read.failing, workflow_id=workflow_id, limit=limit)
        return await self._link.read(work)

    async def rearm(self, workflow_id: str | None = None) -> int:
        """Let quarantined rows be due again; see ``Quarantine.rearm``."""
        return await self._link.write(partial(due_write.rearm, workflow_id=workflow_id))

    async def held_by(self, worker_id: str) -> list[Lease]:
        """Return a worker's leases; see ``Store.held_by``."""
        return await self._link.read(partial(read.held_by, worker_id=worker_id))

    async def forget_sends(self, workflow_id: str) -> bool:
        """Delete the Sends for a run that is not there; see ``Store.forget_sends``."""
        return await self._link.write(partial(forget_sends, workflow_id=workflow_id))

    async def find_task(self, task_id: str) -> str | None:
        """Return the id of the run that has this task, or None."""
        return await self._link.read(partial(read.find_task, task_id=task_id))

    async def now_ms(self) -> int:
        """Return the database's clock, or the newest time committed when that is later."""
        return await self._link.read(read.now_ms)

    async def close(self) -> None:
        """Finish the commits in flight, close the connections. Idempotent."""
        await self._link.close()

    async def put_documents(self, documents: Sequence[Document], *, overwrite: bool) -> list[bool]:
        """Store all documents or none; see ``Catalog.put_documents``."""
        work = partial(catalog.put_documents, documents=documents, overwrite=overwrite)
        return await self._link.write(work)

    async def get_document(self, kind: str, name: str, version: int = 0) -> Document | None:
        """Return a document; version 0 means the highest."""
        work = partial(catalog.get_document, kind=kind, name=name, version=version)
        return await self._link.read(work)

    async def list_documents(self, kind: str, name: str | None = None) -> list[Document]:
        """Return all versions of all documents of a kind, by name and version."""
        return await self._link.read(partial(catalog.list_documents, kind=kind, name=name))

    async def delete_document(self, kind: str, name: str, version: int = 0) -> bool:
        """Delete one version (0: all); False when there was none."""
        work = partial(catalog.delete_document, kind=kind, name=name, version=version)
        return await self._link.write(work)

    async def put_snapshot(self, digest: str, body: bytes) -> None:
        """Keep a definition snapshot under its content hash; again is the same."""
        await self._link.write(partial(catalog.put_snapshot, digest=digest, body=body))

    async def get_snapshot(self, digest: str) -> bytes | None:
        """Return a snapshot's body, or None."""
        return await self._link.read(partial(catalog.get_snapshot, digest=digest))

    async def read_after(
        self, position: int, *, limit: int, workflow_id: str | None = None
    ) -> list[JournalRow]:
        """Return rows after ``position`` (0 = from the start), oldest first."""
        return await self._link.read(
            partial(search.read_after, position=position, limit=limit, workflow_id=workflow_id)
        )

    async def ended_names(self) -> list[str]:
        """Return the names of the workflows that have ended runs, in order."""
        return await self._link.read(purge.ended_names)

    async def find_ended(
        self, name: str, statuses: Sequence[str], *, before_ms: int, keep_count: int, limit: int
    ) -> list[Ended]:
        """Return runs that are to go; see ``Keep.find_ended``."""
        work = partial(purge.find_ended, name=name, statuses=statuses, before_ms=before_ms)
        return await self._link.read(partial(work, keep_count=keep_count, limit=limit))

    async def purge(self, runs: Sequence[Ended], *, now_ms: int, rows_max: int) -> list[str]:
        """Remove runs that are as they were found; see ``Keep.purge``."""
        work = partial(purge.purge, runs=runs, now_ms=now_ms, rows_max=rows_max)
        return await self._link.write(work)

    async def purge_retired(self, *, before_ms: int, rows_max: int) -> int:
        """Delete retired tasks; see ``Keep.purge_retired``."""
        work = partial(purge.purge_retired, before_ms=before_ms, rows_max=rows_max)
        return await self._link.write(work)

    async def purge_removed(
        self, *, before_ms: int, position_max: int | None, rows_max: int
    ) -> int:
        """Delete what is left of removed runs; see ``Keep.purge_removed``."""
        work = partial(purge.purge_removed, before_ms=before_ms, position_max=position_max)
        return await self._link.write(partial(work, rows_max=rows_max))

    async def find_payloads(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload | None]:
        """Return payloads with their bytes, None for each that does not exist."""
        return await self._link.read(partial(read.find_payloads, wanted=wanted))

    async def search(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[Workflow]:
        """Return a page of the runs that match; see ``Search.search``."""
        return await find.find_workflows(self._link, query, sort=sort, start=start, size=size)

    async def search_tasks(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[FoundTask]:
        """Return a page of the tasks that match; see ``Search.search_tasks``."""
        return await find.find_tasks(self._link, query, sort=sort, start=start, size=size)

    async def recent(self, *, limit: int, status: str | None = None) -> list[Workflow]:
        """Return the newest runs by creation."""
        return await self._link.read(partial(search.recent, limit=limit, status=status))

    async def counts(self) -> dict[str, int]:
        """Return how many runs have each status, as far as they are counted."""
        return await self._link.read(search.counts)

    async def queues(self) -> list[QueueDepth]:
        """Return the queues that have ready or leased tasks, by name."""
        return await self._link.read(search.queues)

    async def parts(self) -> list[str]:
        """Return the parts of queues that have ready tasks, by name."""
        return await self._link.read(room.parts)

    async def limit_use(self, key: str, since_ms: int) -> LimitUse:
        """Return how many tasks of a limit's key are held, and were taken after a time."""
        return await self._link.read(partial(room.use, key=key, since_ms=since_ms))

    async def logs(self, task_id: str) -> list[LogLine]:
        """Return a task's log, oldest first."""
        return await self._link.read(partial(search.logs, task_id=task_id))

    async def statistics(self) -> dict[str, Any]:
        """Return counts since open, and the server's settings of durability."""
        return {**self._link.counters, **self._settings}


async def migrate(url: str) -> list[str]:
    """Bring the schema of a database up to date; return the names of the migrations run.

    All in one transaction under a lock, so that several nodes may call it at once.

    Raises:
        StoreError: The database does not answer, is of a newer version of Batuta, or was
            migrated by other files.
    """
    link = await connect(url, connections_max=1)
    try:
        run = await link.write(schema.migrate)
    finally:
        await link.close()
    return [f"{one.number:04}_{one.name}" for one in run]


async def _read_settings(session: Session) -> dict[str, str]:
    return {name: await session.value(f"SHOW {name}") for name in _SETTINGS}
