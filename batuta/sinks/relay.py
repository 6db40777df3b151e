"""Brings the journal to one sink: in order, at least once, from where it left off.

Theory of operation. The relay's place is a cursor in the store, which one node holds for a while
and renews; the others ask now and then whether it has become free. A pass reads the next entries,
tells what they mean, delivers it and goes on; commits of this node are a hint to look, and once a
second it looks anyway. The cursor follows what was delivered, a little later, so that a busy
server does not sync its disk once more for each commit: after a crash what was delivered last
comes again. A sink that fails is closed, waited for with back-off, opened, and given the same
again. Runs know nothing of all this. An entry that nobody can tell is passed over with a record
that says so. Who is further behind than ``lag_max`` finds the older entries skipped: retention
may have removed them, and a record of the gap is delivered in their place.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batuta.model.error import StoreError
from batuta.runtime.clock import pause
from batuta.runtime.commit.batch import Share
from batuta.sinks import generic
from batuta.sinks.base import Record, Sink, body_of
from batuta.sinks.passage import History, Passage, Tell, passages
from batuta.store.base import JournalRow

BATCH_ROWS = 200  # entries of one pass; some 10 ms of telling, in pieces
BATCH_BYTES = 4_000_000  # delivered at once; bounds memory where payloads are large
PIECE_ROWS = 20  # told without letting others have their turn
LOOK_AGAIN_S = 1.0  # without a hint; the bound when all hints are lost
REST_S = 0.02  # after a pass that reached the end: what is committed meanwhile is one pass
STORE_EVERY_S = 0.5  # the cursor is written so often at most; that much is delivered again
DELIVER_S = 20.0  # for one delivery; within the lease, so that nobody else delivers meanwhile
LEASE_MS = 30_000  # how long a node that died keeps its cursors from the others
RENEW_MS = 22_000  # renewed with less than this left: a delivery that begins then ends in time
FREE_AGAIN_S = 5.0  # between two questions whether another node's cursor is free
BACK_OFF_S, BACK_OFF_S_MAX = 0.2, 30.0
CLOSE_S = 5.0

_log = logging.getLogger(__name__)


class _LostError(Exception):
    """Another node has taken the cursor."""


class Relay:
    """One sink's reader of the journal. Run ``run`` as a supervised loop.

    Args:
        cursor: Its name in the store.
        node: Who we are; on a store of one node nobody else can hold the cursor.
        tellers: What to tell of runs, by dialect; of others it is what ``generic`` says.
    """

    def __init__(
        self,
        sink: Sink,
        store: History,
        *,
        cursor: str,
        node: str,
        tellers: Mapping[str, Tell],
        now_ms: Callable[[], int],
        lag_max: int,
    ) -> None:
        self._sink = sink
        self._store = store
        self._cursor = cursor
        self._is_alone = not store.is_shared
        self._owner = "" if self._is_alone else node
        self._tellers = tellers
        self._now_ms = now_ms
        self._lag_max = lag_max
        self._hint = asyncio.Event()
        self._is_open = False
        self._is_held = False
        self._held_until_ms = 0
        self._position = self._stored = 0
        self._stored_s = 0.0
        self._back_off_s = BACK_OFF_S
        self._beat: Callable[[], None] = lambda: None
        self._delivered = self._failures = self._gaps = 0
        self._end = 0
        self._last_error: str | None = None

    def hint(self, _: Share | None = None) -> None:
        """Say that there may be something new."""
        self._hint.set()

    def facts(self) -> dict[str, Any]:
        """Return how it is going: ``lag`` in entries of the journal, as of the last look.

        None where another node relays.
        """
        return {
            "isHolder": self._is_held,
            "position": self._position if self._is_held else None,
            "lag": max(self._end - self._position, 0) if self._is_held else None,
            "delivered": self._delivered,
            "failures": self._failures,
            "gaps": self._gaps,
            "lastError": self._last_error,
        }

    async def begin(self) -> None:
        """Have a place in the journal: of what is committed from now on nothing is missed."""
        await self._hold()

    async def run(self, beat: Callable[[], None]) -> None:
        """Relay for ever; ends by being cancelled, or by an error of the store."""
        self._beat = beat
        try:
            while True:
                beat()
                try:
                    await self._pass()
                except _LostError:
                    await self._let_go()
        finally:
            await self._leave()

    async def _pass(self) -> None:
        self._hint.clear()
        if not await self._hold():
            await self._rest(FREE_AGAIN_S)
            return
        rows = await self._store.read_after(self._position, limit=BATCH_ROWS)
        if not rows:
            self._end = max(self._end, self._position)
            await self._wait()
            return
        self._end = rows[-1].position
        if len(rows) == BATCH_ROWS:
            self._end = await self._store.cursors.journal_end()
        # Asked after reading: what was behind by less then is all among the rows.
        if self._end - self._position > self._lag_max:
            await self._skip(self._end - self._lag_max)
            return
        if await self._relay(rows) and len(rows) < BATCH_ROWS:
            await pause(REST_S)

    async def _hold(self) -> bool:
        """Have the cursor, or renew it while there is time; False: another has it."""
        now_ms = self._now_ms()
        is_long = self._is_alone or now_ms < self._held_until_ms - RENEW_MS
        if self._is_held and is_long:
            return True
        until_ms = now_ms + LEASE_MS
        taken = await self._store.cursors.take(
            self._cursor, self._owner, now_ms=now_ms, until_ms=until_ms
        )
        if taken.owner != self._owner:
            await self._let_go()
            return False
        if not self._is_held:
            self._position = self._stored = taken.position
            self._is_held = True
        self._held_until_ms = until_ms
        return True

    async def _relay(self, rows: Sequence[JournalRow]) -> bool:
        """Deliver what entries tell; False: the sink failed, and part of them is still to go."""
        batch: list[Record] = []
        size_bytes = 0
        found = await passages(self._store, rows)
        for count, (row, passage) in enumerate(found, start=1):
            for record in await self._told(row, passage):
                batch.append(record)
                size_bytes += len(record.body)
            if count % PIECE_ROWS == 0:
                await pause(0)
            if size_bytes >= BATCH_BYTES:
                if not await self._deliver(batch, row.position):
                    return False
                batch, size_bytes = [], 0
        return await self._deliver(batch, rows[-1].position)

    async def _told(self, row: JournalRow, passage: Passage | None) -> list[Record]:
        bodies = [body_of({"type": "UNTOLD", "workflowId": row.workflow_id})]
        dialect = "" if passage is None else passage.run.workflow.dialect
        if passage is not None:
            try:
                bodies = await self._tellers.get(dialect, generic.tell)(passage)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001  one damaged run keeps no other from being told
                _log.exception("entry %d of the journal cannot be told", row.position)
        return [
            Record(
                position=row.position,
                index=index,
                workflow_id=row.workflow_id,
                dialect=dialect,
                body=body,
            )
            for index, body in enumerate(bodies)
        ]

    async def _skip(self, position: int) -> None:
        """Deliver a record of the gap in the place of entries up to a position."""
        gap = {"type": "GAP", "fromPosition": self._position + 1, "toPosition": position}
        record = Record(position=position, index=0, workflow_id="", body=body_of(gap))
        if await self._deliver([record], position):
            self._gaps += 1
            _log.warning(
                "sink %r was more than %d entries behind; it skips to %d",
                self._sink.name,
                self._lag_max,
                position,
            )

    async def _deliver(self, records: Sequence[Record], position: int) -> bool:
        """Deliver records and go on to a position; False, after a rest: the sink failed."""
        if not await self._hold():
            raise _LostError
        if records:
            try:
                async with asyncio.timeout(DELIVER_S):
                    if not self._is_open:
                        self._is_open = True  # also a half-open one is to be closed
                        await self._sink.open()
                    await self._sink.deliver(records)
            except Exception as error:  # noqa: BLE001  whatever a broker's client raises
                await self._failed(error)
                return False
            if self._last_error is not None:
                _log.warning("sink %r takes records again", self._sink.name)
            self._delivered += len(records)
            self._back_off_s, self._last_error = BACK_OFF_S, None
        self._position = position
        if asyncio.get_running_loop().time() - self._stored_s >= STORE_EVERY_S:
            await self._store_position()
        return True

    async def _failed(self, error: Exception) -> None:
        name, text = type(error).__name__, str(error)
        told = text if text.startswith(name) else f"{name}: {text}".rstrip(": ")
        if self._last_error is None:
            _log.warning("sink %r fails and is tried again: %s", self._sink.name, told)
        self._failures += 1
        self._last_error = told
        await self._close_sink()
        await self._store_position()
        await self._rest(self._back_off_s)
        self._back_off_s = min(self._back_off_s * 2, BACK_OFF_S_MAX)

    async def _store_position(self) -> None:
        """Write how far we are, unless it is written; renews the cursor."""
        if self._position == self._stored:
            return
        until_ms = self._now_ms() + LEASE_MS
        is_ours = await self._store.cursors.move(
            self._cursor, self._owner, position=self._position, until_ms=until_ms
        )
        if not is_ours:
            raise _LostError
        self._stored, self._held_until_ms = self._position, until_ms
        self._stored_s = asyncio.get_running_loop().time()

    async def _wait(self) -> None:
        """Wait for a hint, a second at most; first the cursor is written, if it is not."""
        for wait_s in (STORE_EVERY_S, LOOK_AGAIN_S - STORE_EVERY_S):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._hint.wait()
                return
            await self._store_position()

    async def _rest(self, seconds: float) -> None:
        while seconds > 0:
            await pause(min(seconds, LOOK_AGAIN_S))
            self._beat()
            seconds -= LOOK_AGAIN_S

    async def _let_go(self) -> None:
        """Stop relaying: another node does it from where the cursor is."""
        self._is_held = False
        await self._close_sink()

    async def _leave(self) -> None:
        """Write how far we are and free the cursor, as far as that is possible."""
        await self._close_sink()
        if self._is_held:
            self._is_held = False
            with contextlib.suppress(Exception):
                await self._store.cursors.move(
                    self._cursor, self._owner, position=self._position, until_ms=0
                )

    async def _close_sink(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._sink.close()
        except Exception as error:  # noqa: BLE001  what is closed has failed already, or ends
            _log.debug("closing sink %r: %r", self._sink.name, error)
