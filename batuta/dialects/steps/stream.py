"""The events of this dialect as server-sent events, for who has no broker.

An event's id is its place in the journal and among what that entry tells. Who comes back with it
in ``Last-Event-ID`` is told what came after. Nothing is stored for a reader.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import msgspec

from batuta.api.live.resource import BEAT, EVENT_STREAM, NOT_STORED, RECONNECT_MS
from batuta.api.request import Reply, Request
from batuta.dialects.steps.events import tell
from batuta.dialects.steps.lower import NAME
from batuta.model.error import BusyError
from batuta.model.execution import Workflow, WorkflowStatus
from batuta.runtime.clock import pause
from batuta.runtime.commit.batch import Share
from batuta.runtime.engine import Engine
from batuta.runtime.feed.follow import BEAT_S, COALESCE_S, LOOK_AGAIN_S
from batuta.sinks.passage import passages
from batuta.store.base import JournalRow

PAGE_ROWS = 100  # entries of the journal that one look reads
READERS_MAX = 100  # of all instances' events at once; each that lags reads the journal itself
PAGES_MAX = 20  # last read, for readers who are nearly at the same place
_ID = re.compile(r"(\d{1,18})(?:-(\d{1,9}))?", re.ASCII)


class _Place(msgspec.Struct, frozen=True):
    """What a reader has seen: entries before ``position``, and of that one ``count`` events."""

    position: int = 1
    count: int = 0


class _Page(msgspec.Struct, frozen=True):
    """Events after a place, up to the entry at ``end``; ``is_full``: there are more already."""

    told: Sequence[bytes]
    end: int
    is_full: bool


class Streams:
    """The readers of events at this node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers: set[asyncio.Event] = set()
        self._pages: dict[_Place, _Page] = {}
        self._lock = asyncio.Lock()
        engine.listeners.append(self._hint)

    async def of_instance(self, request: Request, workflow: Workflow) -> Reply:
        """Tell an instance's events, from its start or where the reader left off, to its end."""
        place = _given(request)
        workflow_id = workflow.workflow_id
        if place is not None and workflow.status.is_terminal:
            rows = await self._rows(place, workflow_id)
            if not (await self._told(rows, place))[0]:
                return Reply(204)  # browsers that get this do not come back
        self._engine.feed.check_room()
        return _streamed(self._follow(workflow_id, place or _Place()))

    async def of_all(self, request: Request) -> Reply:
        """Tell the events of all instances, from now on or where the reader left off.

        Raises:
            BusyError: Too many read them.
        """
        if len(self._readers) >= READERS_MAX:
            raise BusyError(f"{READERS_MAX} readers follow all instances; try again later")
        place = _given(request)
        if place is None:
            place = _Place(await self._engine.store.cursors.journal_end() + 1)
        return _streamed(self._follow_all(place))

    async def _follow(self, workflow_id: str, place: _Place) -> AsyncGenerator[bytes, None]:
        feed = self._engine.feed
        status: WorkflowStatus | None = None
        yield b"retry: %d\n\n" % RECONNECT_MS
        with feed.follow(workflow_id) as follower:
            while not feed.is_released:
                rows = await self._rows(place, workflow_id)
                told, changed_to = await self._told(rows, place)
                status = changed_to or status
                for event in told:
                    yield event
                if rows:
                    place = _Place(rows[-1].position + 1)
                    follower.version = rows[-1].entry.version
                if len(rows) == PAGE_ROWS:
                    continue
                if status is not None and status.is_terminal:
                    return
                while not await feed.changed(follower):
                    yield BEAT

    async def _follow_all(self, place: _Place) -> AsyncGenerator[bytes, None]:
        hint = asyncio.Event()
        self._readers.add(hint)
        loop = asyncio.get_running_loop()
        spoken_s = loop.time()
        try:
            yield b"retry: %d\n\n" % RECONNECT_MS
            while not self._engine.feed.is_released:
                hint.clear()
                page = await self._page(place)
                told = page.told
                if not told and loop.time() - spoken_s >= BEAT_S:
                    told = [BEAT]
                for event in told:
                    yield event
                    spoken_s = loop.time()
                place = _Place(page.end + 1)
                if not page.is_full:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_AGAIN_S):
                            await hint.wait()
                    await pause(COALESCE_S)
        finally:
            self._readers.discard(hint)

    async def _page(self, place: _Place) -> "_Page":
        """Return what comes after a place; readers who are at the same one share the reading."""
        async with self._lock:
            page = self._pages.get(place)
            if page is None:
                rows = await self._rows(place, None)
                told, _ = await self._told(rows, place)
                end = rows[-1].position if rows else place.position - 1
                page = _Page(tuple(told), end, is_full=len(rows) == PAGE_ROWS)
                if rows:  # what has come is there to stay; what may come yet is asked for again
                    self._pages[place] = page
                    if len(self._pages) > PAGES_MAX:
                        del self._pages[next(iter(self._pages))]
            return page

    async def _rows(self, place: _Place, workflow_id: str | None) -> list[JournalRow]:
        return await self._engine.store.read_after(
            place.position - 1, limit=PAGE_ROWS, workflow_id=workflow_id
        )

    async def _told(
        self, rows: Sequence[JournalRow], place: _Place
    ) -> tuple[list[bytes], WorkflowStatus | None]:
        """Return what entries tell that the reader has not seen, and the last status of a run."""
        told: list[bytes] = []
        status: WorkflowStatus | None = None
        for row, passage in await passages(self._engine.store, rows):
            if passage is None or passage.run.workflow.dialect != NAME:
                continue
            position = row.position
            status = passage.status or status
            for index, body in enumerate(await tell(passage)):
                if position > place.position or index >= place.count:
                    told.append(b"id: %d-%d\ndata: %b\n\n" % (position, index, body))
        return told, status

    def _hint(self, _: Share) -> None:
        for reader in self._readers:
            reader.set()


def _streamed(events: AsyncGenerator[bytes, None]) -> Reply:
    return Reply(200, media=EVENT_STREAM, headers=NOT_STORED, chunks=events)


def _given(request: Request) -> _Place | None:
    """Read what a reader has seen; anything else than an id of ours is nothing."""
    headers: dict[bytes, bytes] = dict(request.scope["headers"])
    given = headers.get(b"last-event-id", b"").decode("latin-1") or request.text("lastEventId")
    found = _ID.fullmatch(given or "")
    if found is None:
        return None
    if found[2] is None:
        return _Place(int(found[1]) + 1)
    return _Place(max(int(found[1]), 1), int(found[2]) + 1)
