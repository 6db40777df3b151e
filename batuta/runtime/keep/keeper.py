"""The loop that removes what is old: runs, retired tasks, journal rows, files that nobody names.

What may be removed is asked of the store, and judged by it again when it is removed; so nothing
here has to be right at the same instant. Each slice is one short transaction, and after it the
loop rests several times as long as that took: others keep most of the store's time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import field

from batuta.model.definition import Retention
from batuta.runtime.clock import pause
from batuta.runtime.definitions import WORKFLOW_DEF
from batuta.runtime.keep.plan import DAY_MS, Defaults, Wanted, is_configured, wanted
from batuta.store.base import Catalog, Journal
from batuta.store.keep import Ended, Keep

PASS_S = 60.0  # between two passes: what is kept for days need not go to the second
FIRST_PASS_S = 5.0  # after the start, when others have more urgent things to do
BEAT_S = 1.0  # while resting; the supervisor's report shows it
FOUND_MAX = 1_000  # runs that one look finds: the threshold of a count is found once for them
SLICE_RUNS = 50  # that one transaction removes
SLICE_ROWS = 500  # tasks or journal rows of one transaction; some 5 ms of SQLite's writer
REST_FACTOR = 4  # a slice's time, times this, is rested: others have four fifths of the store
REST_S_MIN = 0.02
JOURNAL_KEEP_MS = 3_600_000  # of removed runs: who reads behind or asks what became of a commit


Sweep = Callable[[], Awaitable[tuple[int, bool]]]
"""Removes the next few files; says how many, and whether it has come to the end."""


class KeepStore(Catalog, Keep, Journal, Protocol):
    """What retention needs of a store."""


class Kept(msgspec.Struct):
    """What was removed since the start, and when the last pass ended; times in Unix ms."""

    last_pass_at_ms: int = 0
    is_configured: bool = False
    runs: int = 0
    retired_tasks: int = 0
    leftover_rows: int = 0
    files: int = 0


class _RetentionOf(msgspec.Struct):
    """A stored definition, of which only this is read."""

    retention: Retention | None = field(default=None)


_RETENTION = msgspec.json.Decoder(_RetentionOf)


class Keeper:
    """Runs as a supervised loop, on each node; two of them do each other no harm.

    Args:
        forget: Told of runs that are gone, so that memory shows them no more.
    """

    def __init__(
        self,
        store: KeepStore,
        defaults: Defaults,
        *,
        now_ms: Callable[[], int],
        forget: Callable[[Sequence[str]], None],
        sweeps: Sequence[Sweep] = (),
    ) -> None:
        self._store = store
        self._defaults = defaults
        self._now_ms = now_ms
        self._forget = forget
        self._sweeps = sweeps
        self._beat: Callable[[], None] = lambda: None
        self.kept = Kept()

    async def run(self, beat: Callable[[], None]) -> None:
        """Make a pass a minute."""
        self._beat = beat
        await self._rest(FIRST_PASS_S)
        while True:
            await self.make_pass()
            await self._rest(PASS_S)

    async def make_pass(self) -> None:
        """Remove everything that is to go now."""
        retentions = await self._retentions()
        every = [None, *retentions.values()]
        self.kept.is_configured = any(is_configured(self._defaults, one) for one in every)
        if self.kept.is_configured:
            now_ms = self._now_ms()
            for name in await self._store.ended_names():
                for asked in wanted(self._defaults, retentions.get(name), now_ms=now_ms):
                    await self._purge(name, asked)
            await self._purge_removed()
        if self._defaults.retention_retired_days:
            await self._purge_retired()
        for sweep in self._sweeps:
            await self._sweep(sweep)
        self.kept.last_pass_at_ms = self._now_ms()

    async def _retentions(self) -> dict[str, Retention]:
        """Return the rules of the definitions that have some: of each name the latest counts."""
        latest: dict[str, Retention | None] = {}
        for document in await self._store.list_documents(WORKFLOW_DEF):
            latest[document.name] = _RETENTION.decode(document.body).retention
        return {name: retention for name, retention in latest.items() if retention is not None}

    async def _purge(self, name: str, asked: Wanted) -> None:
        while True:
            found = await self._store.find_ended(
                name,
                asked.statuses,
                before_ms=asked.before_ms,
                keep_count=asked.keep_count,
                limit=FOUND_MAX,
            )
            purged = 0
            for first in range(0, len(found), SLICE_RUNS):
                purged += await self._slice(self._purge_some, found[first : first + SLICE_RUNS])
            # What was found and is not purged has moved on; the next pass looks again.
            if len(found) < FOUND_MAX or not purged:
                return

    async def _purge_some(self, runs: Sequence[Ended]) -> int:
        position = await self._position_read()
        if position is not None:
            asked = [(run.workflow_id, run.version) for run in runs]
            unread = await self._store.cursors.unread(asked, position)
            runs = [run for run in runs if run.workflow_id not in unread]
        gone = await self._store.purge(runs, now_ms=self._now_ms(), rows_max=SLICE_ROWS)
        self._forget(gone)
        self.kept.runs += len(gone)
        return len(gone)

    async def _purge_removed(self) -> None:
        before_ms = self._now_ms() - JOURNAL_KEEP_MS

        async def some() -> int:
            position = await self._position_read()
            return await self._store.purge_removed(
                before_ms=before_ms, position_max=position, rows_max=SLICE_ROWS
            )

        while True:
            deleted = await self._slice(some)
            self.kept.leftover_rows += deleted
            if not deleted:
                return

    async def _position_read(self) -> int | None:
        """Return how far all readers have come, one that is too far behind left aside."""
        cursors = await self._store.cursors.all()
        if not cursors:
            return None
        end = await self._store.cursors.journal_end()
        least = end - self._defaults.sink_lag_max
        return max(least, min(cursor.position for cursor in cursors))

    async def _purge_retired(self) -> None:
        before_ms = self._now_ms() - self._defaults.retention_retired_days * DAY_MS
        position = await self._position_read()
        if position is not None:  # what has been retired since its reader was there is told of yet
            for row in await self._store.read_after(position, limit=1):
                before_ms = min(before_ms, row.entry.at_ms)

        async def some() -> int:
            return await self._store.purge_retired(before_ms=before_ms, rows_max=SLICE_ROWS)

        while True:
            deleted = await self._slice(some)
            self.kept.retired_tasks += deleted
            if deleted < SLICE_ROWS:
                return

    async def _sweep(self, sweep: Sweep) -> None:
        is_last = False
        while not is_last:
            removed, is_last = await self._slice(sweep)
            self.kept.files += removed

    async def _slice(self, work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Do a slice of the work, then rest, so that the others get their turn."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        done = await work(*arguments)
        self._beat()
        await pause(max(REST_FACTOR * (loop.time() - begun_s), REST_S_MIN))
        return done

    async def _rest(self, seconds: float) -> None:
        for _ in range(int(seconds / BEAT_S)):
            self._beat()
            await pause(BEAT_S)
