"""Who follows which run, and when they should look at it.

Theory of operation. A commit or a poll of this node is a hint that a run has changed. Once a
second one read asks for the versions of all runs that are followed and have had no hint: that
finds the commits of other nodes, and is the bound when all hints are lost. Nothing is stored
for a follower; it is gone with its caller, who goes on from the last version that it has seen.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress

from batuta.model.error import BusyError, NotFoundError
from batuta.model.execution import Lease
from batuta.runtime.clock import pause
from batuta.runtime.commit.batch import Share
from batuta.runtime.definitions import Definitions
from batuta.runtime.feed.delta import Delta, delta
from batuta.store.base import Store

FOLLOWERS_MAX = 5_000  # of one node; each costs a connection and some 20 kB
LOOK_AGAIN_S = 1.0  # without a hint; the bound when all hints are lost
COALESCE_S = 0.02  # between two looks: a busy run changes faster than anybody reads
BEAT_S = 15.0  # proxies close connections that are silent for 30 to 60 s


class Follower:
    """One caller that follows a run; ``hint`` is set when it should look again."""

    __slots__ = ("hint", "looked_at_s", "version", "workflow_id")

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.version = 0  # that the caller has seen
        self.hint = asyncio.Event()
        self.looked_at_s = 0.0


class Feed:
    """The followers of runs at this node. Run ``run`` as a supervised loop."""

    def __init__(
        self, store: Store, definitions: Definitions, listeners: list[Callable[[Share], None]]
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._by_run: dict[str, set[Follower]] = {}
        self._count = 0
        self._has_some = asyncio.Event()
        self._is_released = False
        listeners.append(lambda share: self._hint(share.execution.workflow.workflow_id))

    def __len__(self) -> int:
        return self._count

    def check_room(self) -> None:
        """Refuse one follower more than there are places, before it is answered.

        Raises:
            BusyError: All are taken.
        """
        if self._count >= FOLLOWERS_MAX:
            raise BusyError(f"{FOLLOWERS_MAX} streams are open at this server; try again later")

    @contextmanager
    def follow(self, workflow_id: str) -> Iterator[Follower]:
        """Give a place from which a run is followed.

        Raises:
            BusyError: All places are taken.
        """
        self.check_room()
        follower = Follower(workflow_id)
        self._count += 1
        self._by_run.setdefault(workflow_id, set()).add(follower)
        self._has_some.set()
        try:
            yield follower
        finally:
            self._count -= 1
            others = self._by_run[workflow_id]
            others.discard(follower)
            if not others:
                del self._by_run[workflow_id]

    async def changed(self, follower: Follower, beat_s: float = BEAT_S) -> bool:
        """Wait until the run may have changed, True, or for ``beat_s``, False.

        A hint that came since the last call counts. ``is_released`` says whether to go on.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(beat_s):
                await follower.hint.wait()
            now_s = asyncio.get_running_loop().time
            early_s = follower.looked_at_s + COALESCE_S - now_s()
            if early_s > 0 and not self._is_released:
                await pause(early_s)
            follower.looked_at_s = now_s()
            follower.hint.clear()
            return True
        return False

    @property
    def is_released(self) -> bool:
        """Say whether the server stops: no follower has anything more to wait for."""
        return self._is_released

    async def delta(self, follower: Follower) -> Delta | None:
        """Return what of the run is newer than the follower has seen; None: it is not there."""
        found = await delta(self._store, self._definitions, follower.workflow_id, follower.version)
        if found is not None:
            follower.version = found.run.workflow.version
        return found

    async def versions(
        self, workflow_id: str, *, beat_s: float = BEAT_S
    ) -> AsyncGenerator[int | None, None]:
        """Yield a run's version: now, and whenever it or the holder of a task may have changed.

        None when nothing did for ``beat_s``. Ends when the run is removed or the server stops.

        Raises:
            NotFoundError: No such run. BusyError: Too many are followed.
        """
        with self.follow(workflow_id) as follower:
            if not await self._look(follower):
                raise NotFoundError(f"no workflow {workflow_id!r}")
            yield follower.version
            while not self._is_released:
                if not await self.changed(follower, beat_s):
                    yield None
                elif await self._look(follower):
                    yield follower.version
                else:
                    return

    def on_lease(self, lease: Lease) -> None:
        """Tell who follows its run that a worker has a task."""
        self._hint(lease.workflow_id)

    def release_all(self) -> None:
        """Let all followers go: the server stops."""
        self._is_released = True
        for followers in self._by_run.values():
            for follower in followers:
                follower.hint.set()

    async def run(self, beat: Callable[[], None]) -> None:
        """Look once a second at the runs that are followed and had no hint."""
        while True:
            await self._has_some.wait()
            await pause(LOOK_AGAIN_S)
            beat()
            if not self._by_run:
                self._has_some.clear()
                continue
            await self._look_around()

    async def _look_around(self) -> None:
        known = {
            workflow_id: min(follower.version for follower in followers)
            for workflow_id, followers in self._by_run.items()
            if not all(follower.hint.is_set() for follower in followers)
        }
        found = await self._store.load(list(known.items()))
        for workflow_id, version in known.items():
            loaded = found.get(workflow_id)
            if loaded is None or loaded.workflow.version != version:
                self._hint(workflow_id)

    async def _look(self, follower: Follower) -> bool:
        """Bring a follower's version up to date; False: the run is not there."""
        known = (follower.workflow_id, follower.version)
        loaded = (await self._store.load([known])).get(follower.workflow_id)
        if loaded is None:
            return False
        follower.version = loaded.workflow.version
        return True

    def _hint(self, workflow_id: str) -> None:
        for follower in self._by_run.get(workflow_id, ()):
            follower.hint.set()
