"""A store of which commits fail as a test plans it: not written, written, or written late."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from batuta.model.change import PutTask
from batuta.model.error import StoreError
from batuta.store.base import Batch, Committed
from tests.engine.node import Counting


class Faulty(Counting):
    """A store that fails some commits: before they are written, or after, or writes them late."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.fails_before: Callable[[Batch], bool] = lambda _batch: False
        self.fails_after: Callable[[Batch], bool] = lambda _batch: False
        self.comes_late: Callable[[Batch], bool] = lambda _batch: False
        self.fails_settled = 0
        self.settled_until_failure = 0  # answers before the first of those failures
        self.may_settle = asyncio.Event()
        self.may_settle.set()
        self.is_late_at_load = False  # what comes late is written before a run is read, too
        self.loads_until_late = 0
        self.has_late = asyncio.Event()
        self._late: list[Batch] = []

    async def commit(self, batch: Batch) -> Committed:
        """Write the batch, or not, and raise, or not."""
        if self.comes_late(batch):
            self._late.append(msgspec.structs.replace(batch, claims=[], touches=[]))
            self.has_late.set()
            raise StoreError("planned: the connection broke, and the batch is written later")
        if batch.decisions and self._late:
            await super().commit(self._late.pop())
        if self.fails_before(batch):
            raise StoreError("planned: nothing was written")
        committed: Committed = await super().commit(batch)
        if self.fails_after(batch):
            raise StoreError("planned: all was written")
        return committed

    def late_task(self) -> tuple[str, str]:
        """Return the run and the task of a start that is yet to be written."""
        [batch] = self._late
        [run] = batch.decisions[0].runs
        [task] = [change.task for change in run.changes if isinstance(change, PutTask)]
        return run.workflow_id, task.task_id

    async def load(self, known: Any) -> Any:
        """Read runs, after what was late for them, if so planned."""
        self.loads_until_late -= 1
        if self.is_late_at_load and self._late and self.loads_until_late < 0:
            await super().commit(self._late.pop())
        return await self._store.load(known)

    async def settled(self, wanted: Any) -> list[bool]:
        """Answer, after some failures, and not before it may."""
        await self.may_settle.wait()
        if self.settled_until_failure:
            self.settled_until_failure -= 1
        elif self.fails_settled:
            self.fails_settled -= 1
            raise StoreError("planned: no answer")
        answer: list[bool] = await self._store.settled(wanted)
        return answer


def once(applies: Callable[[Batch], bool] = lambda _batch: True) -> Callable[[Batch], bool]:
    """Fail the first batch to which this applies."""
    left = [1]

    def fails(batch: Batch) -> bool:
        if left[0] and applies(batch):
            left[0] = 0
            return True
        return False

    return fails


def has_decisions(batch: Batch) -> bool:
    return bool(batch.decisions)


def runs_of(batch: Batch) -> set[str]:
    return {run.workflow_id for decision in batch.decisions for run in decision.runs}
