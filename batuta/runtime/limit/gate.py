"""What a node knows of limits: the parts of queues, and the limits as registered now.

The store counts and refuses; a node only has to name the parts and the limits with each claim.
It learns of parts from its own commits at once, and from the table once a second, as it does
of changed definitions: a limit that is raised holds a second later.
"""

import logging
from collections.abc import Callable, Collection, Sequence

from batuta.core.limits.policy import limit_of
from batuta.model.error import StoreError
from batuta.model.limit import Limit, LimitUse, split_part
from batuta.runtime.clock import pause
from batuta.runtime.commit.committer import Committer
from batuta.runtime.definitions import Definitions
from batuta.runtime.queues import Queue
from batuta.store.base import Part, Search

PASS_S = 1.0  # between two readings of the tables

_log = logging.getLogger(__name__)


class Gate:
    """Keeps the parts of the queues and the limits of their keys. Run ``run`` as a loop."""

    def __init__(self, store: Search, definitions: Definitions, committer: Committer) -> None:
        self._store = store
        self._definitions = definitions
        self._queues = queues = committer.queues
        self._spawn = committer.spawn
        self._limits: dict[str, Limit | None] = {}
        queues.on_part = self._learn
        committer.parts_of = self.parts_of

    async def run(self, beat: Callable[[], None]) -> None:
        """Read the tables, a pass a second."""
        while True:
            await self.read()
            beat()
            await pause(PASS_S)

    async def read(self) -> None:
        """Take the parts that have ready tasks, and the limits as registered now."""
        before = self._known()
        names = await self._store.parts()
        found = {split_part(name) for name in names}
        for name, key in before - found:
            self._queues.get(name).parts.pop(key, None)
        await self._read_limits({key for _, key in found | self._known()})
        keys = {key for _, key in found | self._known()}
        self._limits = {key: limit for key, limit in self._limits.items() if key in keys}
        for name in names:
            self._queues.hint(name)

    def parts_of(self, queue: Queue) -> Sequence[Part]:
        """Return the parts of a queue from which may be claimed: those whose limit is known."""
        return [
            Part(name, self._limits[key])
            for key, name in queue.parts.items()
            if key in self._limits
        ]

    async def use(self, key: str, now_ms: int) -> tuple[Limit | None, LimitUse]:
        """Return a limit as registered now, None for none, and how much of it is used."""
        limit = limit_of((await self._definitions.task_defs_of([key])).get(key))
        since_ms = now_ms - (limit.window_ms if limit else 0)
        return limit, await self._store.limit_use(key, since_ms)

    def _learn(self, key: str) -> None:
        if key not in self._limits:
            self._spawn(self._learn_now(key))

    async def _learn_now(self, key: str) -> None:
        try:
            await self._read_limits({key})
        except StoreError:
            _log.warning("the limit of %r is read again within a second", key)
            return
        self._queues.hint_limit(key)

    async def _read_limits(self, keys: Collection[str]) -> None:
        registered = await self._definitions.task_defs_of(sorted(keys))
        self._limits.update({key: limit_of(registered.get(key)) for key in keys})

    def _known(self) -> set[tuple[str, str]]:
        return {(queue.name, key) for queue in self._queues for key in queue.parts}
