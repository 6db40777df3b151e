"""A store whose large payloads are files; see the package for the promise."""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from batuta.model.change import Change, PutTask, PutWorkflow, RemoveWorkflow
from batuta.model.error import StoreError
from batuta.model.payload import Payload
from batuta.store.base import Accepted, Batch, Committed, Loaded, RunChanges, Search, Store
from batuta.store.blob.folder import Folder, Found
from batuta.store.blob.reference import (
    REFERENCE_BYTES,
    Place,
    Reference,
    decode,
    encode,
    unloaded,
)
from batuta.store.keep import Ended, Keep
from batuta.store.query.tree import FoundTask, Page, Query, Sort

BLOB_BYTES_MIN = 1_000_000  # the default; SQLite copies what is larger twice, a file only once
NAME_BYTES = 16  # of chance in a name, so that no two are alike
ORPHAN_AGE_MS = 3_600_000  # far longer than any commit takes, also one whose outcome is unknown
SWEEP_FILES = 200  # that one slice looks at: one short read of the database

Key = tuple[str, int, str]
_PARTS: dict[type[Change], tuple[str, ...]] = {
    PutTask: ("input", "output"),
    PutWorkflow: ("input", "output", "variables"),
}


class Whole(Store, Search, Keep, Protocol):
    """What the wrapped store must be able to do."""


S = TypeVar("S", bound=Whole)


class Swept(msgspec.Struct, frozen=True):
    """What one slice of a sweep did; ``is_last``: every file has been looked at."""

    looked_at: int
    removed: int
    is_last: bool


def with_blobs(inner: S, folder: Folder, *, blob_bytes_min: int, wall_ms: Callable[[], int]) -> S:
    """Return the store with its payloads from ``blob_bytes_min`` on in files.

    Args:
        wall_ms: The clock of the file system, Unix ms; store time may be another.
    """
    return cast("S", BlobStore(inner, folder, blob_bytes_min=blob_bytes_min, wall_ms=wall_ms))


class BlobStore:
    """Does with large payloads what the package says; everything else is the inner store's."""

    def __init__(
        self, inner: Whole, folder: Folder, *, blob_bytes_min: int, wall_ms: Callable[[], int]
    ) -> None:
        assert blob_bytes_min > REFERENCE_BYTES, "a file is for what is larger than its name"
        self._inner = inner
        self._folder = folder
        self._bytes_min = blob_bytes_min
        self._wall_ms = wall_ms
        self._in_flight: set[str] = set()
        self._walk: Iterator[Found] | None = None
        self.written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def load(self, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
        """Return the runs that exist; see ``Store.load``."""
        loaded = await self._inner.load(known)
        return {workflow_id: _as_loaded(run) for workflow_id, run in loaded.items()}

    async def fetch(self, wanted: Sequence[Key]) -> list[Payload]:
        """Return payloads with their bytes; see ``Store.fetch``."""
        found = await self._inner.fetch(wanted)
        return cast("list[Payload]", await self._with_bytes(wanted, found))

    async def find_payloads(self, wanted: Sequence[Key]) -> list[Payload | None]:
        """Return payloads with their bytes; see ``Keep.find_payloads``."""
        return await self._with_bytes(wanted, await self._inner.find_payloads(wanted))

    async def commit(self, batch: Batch) -> Committed:
        """Write the files, then the batch that names them; see ``Store.commit``."""
        if not self._is_concerned(batch):
            return await self._inner.commit(batch)
        files: list[tuple[Place, str, bytes]] = []
        decisions = [
            replace(decision, runs=[self._named(run, files) for run in decision.runs])
            for decision in batch.decisions
        ]
        names = {name for _, name, _ in files}
        self._in_flight |= names
        try:
            if files:
                await asyncio.to_thread(self._folder.write, files)
                self.written += len(files)
            committed = await self._inner.commit(replace(batch, decisions=decisions))
        finally:
            self._in_flight -= names
        await self._tidy(batch, committed, files)
        return committed

    async def purge(self, runs: Sequence[Ended], *, now_ms: int, rows_max: int) -> list[str]:
        """Remove runs and their files; see ``Keep.purge``."""
        purged = await self._inner.purge(runs, now_ms=now_ms, rows_max=rows_max)
        if purged:
            await asyncio.to_thread(self._folder.remove_runs, purged)
        return purged

    async def search_tasks(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[FoundTask]:
        """Return a page of tasks; see ``Search.search_tasks``."""
        page = await self._inner.search_tasks(query, sort=sort, start=start, size=size)
        keys = [
            (found.task.task_id, part, (found.workflow.workflow_id, found.task.seq, part))
            for found in page.items
            for part in ("input", "output")
            if getattr(found, part) is not None
            and getattr(found, part).size_bytes == REFERENCE_BYTES
        ]
        if not keys:
            return page
        stored = await self._inner.find_payloads([key for _, _, key in keys])
        sizes = {
            (task_id, part): unloaded(payload)
            for (task_id, part, _), payload in zip(keys, stored, strict=True)
            if decode(payload) is not None
        }
        items = [_sized(found, sizes) for found in page.items]
        return replace(page, items=items)

    async def sweep(self) -> Swept:
        """Look at the next files and remove those that nobody names and nobody will."""
        if self._walk is None:
            self._walk = self._folder.walk()
        walk = self._walk
        files = await asyncio.to_thread(lambda: list(itertools.islice(walk, SWEEP_FILES)))
        is_last = len(files) < SWEEP_FILES
        if is_last:
            self._walk = None
        old_ms = self._wall_ms() - ORPHAN_AGE_MS
        old = [
            file
            for file in files
            if file.changed_at_ms < old_ms and file.name not in self._in_flight
        ]
        keys = [(file.place.workflow_id, file.place.seq, file.place.part) for file in old]
        named = await self._inner.find_payloads(keys) if keys else []
        orphans = [
            (file.place, file.name)
            for file, payload in zip(old, named, strict=True)
            if (reference := decode(payload)) is None or reference.name != file.name
        ]
        if orphans:
            await asyncio.to_thread(self._folder.remove, orphans)
        return Swept(len(files), len(orphans), is_last)

    def _is_concerned(self, batch: Batch) -> bool:
        """Tell whether a batch has a large payload, or removes a run."""
        # Each batch comes by here: no more is done than to look at each size.
        bytes_min = self._bytes_min
        for decision in batch.decisions:
            for run in decision.runs:
                for change in run.changes:
                    parts = _PARTS.get(type(change))
                    if parts is None:
                        if type(change) is RemoveWorkflow:
                            return True
                        continue
                    for part in parts:
                        payload = getattr(change, part)
                        if payload is not None and payload.size_bytes >= bytes_min:
                            return True
        return False

    def _named(self, run: RunChanges, files: list[tuple[Place, str, bytes]]) -> RunChanges:
        """Return a run's changes with names instead of large payloads, which ``files`` gets."""
        changes = []
        for change in run.changes:
            names: dict[str, Payload] = {}
            for part in _PARTS.get(type(change), ()):
                payload: Payload | None = getattr(change, part)
                if payload is None or payload.size_bytes < self._bytes_min:
                    continue
                assert payload.raw is not None, "a payload is loaded before it is written"
                name = secrets.token_hex(NAME_BYTES)
                seq = change.task.seq if isinstance(change, PutTask) else 0
                files.append((Place(run.workflow_id, seq, part), name, payload.raw))
                names[part] = encode(Reference(name, payload.size_bytes))
            changes.append(replace(change, **names) if names else change)
        return replace(run, changes=changes)

    async def _tidy(
        self, batch: Batch, committed: Committed, files: Sequence[tuple[Place, str, bytes]]
    ) -> None:
        """Remove the files of refused decisions and of removed runs; a crash leaves both."""
        refused: set[str] = set()
        removed: list[str] = []
        for decision, verdict in zip(batch.decisions, committed.verdicts, strict=True):
            if not isinstance(verdict, Accepted):
                refused |= {run.workflow_id for run in decision.runs}
                continue
            removed += [
                run.workflow_id
                for run in decision.runs
                if any(isinstance(change, RemoveWorkflow) for change in run.changes)
            ]
        orphans = [(place, name) for place, name, _ in files if place.workflow_id in refused]
        if orphans or removed:
            await asyncio.to_thread(self._folder.remove, orphans)
            await asyncio.to_thread(self._folder.remove_runs, removed)

    async def _with_bytes(
        self, wanted: Sequence[Key], stored: Sequence[Payload | None]
    ) -> list[Payload | None]:
        """Return payloads with those that are in files read from there."""
        found = list(stored)
        indexes = [index for index, payload in enumerate(stored) if decode(payload) is not None]
        if not indexes:
            return found
        read = await asyncio.to_thread(self._read, [(wanted[i], stored[i]) for i in indexes])
        missing = [i for i, raw in zip(indexes, read, strict=True) if raw is None]
        if missing:
            # Replaced since it was looked up, and removed: the new one is there.
            newer = await self._inner.find_payloads([wanted[i] for i in missing])
            again = [(wanted[i], one) for i, one in zip(missing, newer, strict=True)]
            read_again = iter(await asyncio.to_thread(self._read, again))
            read = [next(read_again) if raw is None else raw for raw in read]
        for index, raw in zip(indexes, read, strict=True):
            if raw is None:
                workflow_id, seq, part = wanted[index]
                raise StoreError(
                    f"the file of {part!r} of seq {seq} of {workflow_id!r} is gone; is"
                    " BATUTA_BLOB_FOLDER what it was when it was written?"
                )
            found[index] = Payload(raw)
        return found

    def _read(self, wanted: Sequence[tuple[Key, Payload | None]]) -> list[bytes | None]:
        read: list[bytes | None] = []
        for key, payload in wanted:
            reference = decode(payload)
            if reference is None:
                read.append(None if payload is None else payload.raw)
            else:
                read.append(self._folder.read(Place(*key), reference.name))
        return read


def _as_loaded(run: Loaded) -> Loaded:
    parts = (run.input, run.output, run.variables)
    inside = itertools.chain(parts, *(row[1:] for row in run.tasks))
    if not any(decode(payload) for payload in inside):
        return run
    return replace(
        run,
        input=unloaded(run.input),
        output=unloaded(run.output),
        variables=unloaded(run.variables),
        tasks=[(task, unloaded(given), unloaded(result)) for task, given, result in run.tasks],
    )


def _sized(found: FoundTask, sizes: dict[tuple[str, str], Payload | None]) -> FoundTask:
    parts = {
        part: sizes[found.task.task_id, part]
        for part in ("input", "output")
        if (found.task.task_id, part) in sizes
    }
    return replace(found, **parts) if parts else found
