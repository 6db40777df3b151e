"""What a worker does to a lease that it holds, besides reporting: renew it; lose it by dying."""

import asyncio

from batuta.model.error import NotFoundError
from batuta.model.execution import Lease, renewed
from batuta.runtime.commit.cache import Cache
from batuta.runtime.commit.committer import Committer
from batuta.runtime.queues import LOCAL_WORKER
from batuta.store.base import Store, Touch


class Leases:
    """Renews leases, and takes back those of a dead process."""

    def __init__(self, store: Store, committer: Committer, cache: Cache) -> None:
        self._store = store
        self._committer = committer
        self._cache = cache

    async def extend(self, workflow_id: str, task_id: str) -> None:
        """Renew a worker's lease; one that has gone meanwhile stays gone, without an error.

        Raises:
            NotFoundError: No such run or task.
        """
        # Memory may be ahead of the disk here, or lack the lease: one read beside the claim that
        # made it, or one that another node made. The store is asked before a worker loses it.
        remembered = self._cache.peek(workflow_id)
        lease = remembered.leases.get(task_id) if remembered else None
        if lease is not None and await self._touch(lease):
            return
        execution = await self._committer.committed(workflow_id, is_from_store=True)
        if execution.task(task_id) is None:
            raise NotFoundError(f"workflow {workflow_id!r} has no task {task_id!r}")
        lease = execution.leases.get(task_id)
        if lease is not None:
            await self._touch(lease)

    async def take_back_local(self) -> int:
        """Make ready again what in-process workers of a dead process held; return how many.

        The tasks keep their ids, poll counts and places. Only before workers of this process have
        any, and on a store that it has for itself (SQLite: the lock file proves that the process
        is gone). On a shared store (PostgreSQL) the in-process workers of other nodes are alive,
        and a lease has to end by itself. One that cannot be given back ends by itself too.
        """
        leases = await self._store.held_by(LOCAL_WORKER)
        answers = self._committer.give_back_leases(leases)
        times = await asyncio.gather(*answers, return_exceptions=True)
        return sum(isinstance(time_ms, int) for time_ms in times)

    async def _touch(self, lease: Lease) -> bool:
        """Renew a lease, and memory's copy of it; False when it is no longer that one."""
        touch = Touch(task_id=lease.task_id, poll_count=lease.poll_count)
        # The time the store wrote: a give-back compares it.
        now_ms = await self._committer.touch(touch)
        if now_ms is None:
            return False
        execution = self._cache.peek(lease.workflow_id)
        if execution is not None and execution.leases.get(lease.task_id) == lease:
            execution.leases[lease.task_id] = renewed(lease, now_ms)
        return True
