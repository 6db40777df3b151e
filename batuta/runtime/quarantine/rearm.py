"""What is quarantined in the store, and letting it go: for operators."""

from typing import Protocol

from batuta.store.failing import FAILING_MAX, Failing, Quarantine


class Submitting(Protocol):
    """What this node submits when it is due: ``runtime.timers``."""

    def hint(self) -> None:
        """Have the tables read soon."""
        ...

    def in_trouble(self, workflow_id: str) -> list[Failing]:
        """Return a run's rows that wait here for a reason that is not their own."""
        ...


class Quarantined:
    """The part of the engine that shows what failed and re-arms it."""

    def __init__(self, store: Quarantine, timers: Submitting) -> None:
        self._store = store
        self._timers = timers

    async def rows(
        self, workflow_id: str | None = None, *, limit: int = FAILING_MAX
    ) -> list[Failing]:
        """Return what has failed, of one run or of all, whichever node saw it fail."""
        return await self._store.failing(workflow_id, limit=limit)

    async def rows_of(self, workflow_id: str) -> list[Failing]:
        """Return what has failed of a run, and what this node cannot submit for now."""
        return [*await self.rows(workflow_id), *self._timers.in_trouble(workflow_id)]

    async def count(self) -> int:
        """Return how many rows are quarantined, FAILING_MAX at most."""
        return sum(row.retry_at_ms is None for row in await self.rows())

    async def rearm(self, workflow_id: str | None = None) -> int:
        """Let what is quarantined, of one run or of all, be tried again; return how many rows.

        This node tries at once, the others of the store within a second.
        """
        count = await self._store.rearm(workflow_id)
        self._timers.hint()
        return count
