"""Who gets what after a commit: pollers their tasks, heartbeats their answers.

A task that was leased and finds nobody to take it is given back; it is then ready again in its
old place.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from batuta.core.execution import Execution
from batuta.model.error import StoreError
from batuta.model.execution import Lease
from batuta.runtime.clock import pause
from batuta.runtime.commit.batch import Unit
from batuta.runtime.commit.cache import Cache, build
from batuta.runtime.commit.flight import ClaimWanted, Flight, Grant, polled_view
from batuta.runtime.commit.gather import Holds
from batuta.runtime.definitions import Definitions
from batuta.runtime.fetch import whole_polled
from batuta.runtime.queues import FURTHER, Queues, Waiter
from batuta.runtime.view import Polled
from batuta.store.base import Committed, Store, Touch

LOOK_PAUSE_S = 0.05  # after an unknown outcome, before a lease is looked at
LOOKS_MAX = 100  # at a store in trouble; then the lease ends by itself

_log = logging.getLogger(__name__)


class Handout:
    """Gives out what a durable batch has leased.

    Args:
        touch: Puts a heartbeat or a give-back into the next batch.
        holds: The busy runs: memory may be ahead of the disk for them.
        spawn: Runs a coroutine beside the pump.
    """

    def __init__(
        self,
        store: Store,
        *,
        cache: Cache,
        queues: Queues,
        definitions: Definitions,
        touch: "Callable[[Touch], asyncio.Future[int | None]]",
        holds: Holds,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._store = store
        self._cache = cache
        self._queues = queues
        self._definitions = definitions
        self._touch = touch
        self._holds = holds
        self._spawn = spawn

    def grant(self, grant: Grant, accepted: set[Unit]) -> None:
        """Answer a poller with the tasks that became its own in this commit."""
        polled = [
            view
            for share, lease in grant.leases
            if share.unit in accepted and (view := polled_view(share.execution, lease))
        ]
        if not polled:
            self._queues.put_back(grant.queue, grant.waiter)
        else:
            self._answer(grant.waiter, polled)

    def look_after(self, grant: Grant, unsure: set[Unit]) -> None:
        """Give back what a grant has leased, if it has: nobody knows whether its try is stored."""
        for share, lease in grant.leases:
            if share.unit in unsure:
                self._spawn(self._give_back_again(lease))

    def hand_out(self, flight: Flight, committed: Committed) -> None:
        """Answer the pollers that asked the table, and the heartbeats."""
        found = list(zip(flight.claims, committed.claimed, strict=True))
        for wanted, leases in found:
            is_short = len(leases) < wanted.waiter.count
            if is_short and wanted.hint_count == wanted.queue.hint_count:
                # Else it may have been read before another batch, in flight beside it, wrote.
                wanted.queue.may_have = False
        for wanted, leases in reversed(found):  # the first in line goes to its head again
            if not leases:
                self._queues.put_back(wanted.queue, wanted.waiter)
        for wanted, leases in found:
            if len(leases) == wanted.waiter.count:
                self._queues.serve(wanted.queue, FURTHER)
            if not leases:
                continue
            if not all(self._is_in_memory(lease) for lease in leases):
                self._spawn(self._answer_claim(wanted, leases))
            else:
                self._resolve_claim(wanted, leases)
        for touching, is_done in zip(flight.touches, committed.touched, strict=True):
            if not touching.answer.done():
                touching.answer.set_result(flight.now_ms if is_done else None)

    def _is_in_memory(self, lease: Lease) -> bool:
        """Say whether memory has the task as committed; another node may have made it.

        A large run is busy nearly always, with other tasks of it: to load it for each claim
        would cost the square of their number.
        """
        execution = self._cache.peek(lease.workflow_id)
        seq = execution.by_id.get(lease.task_id) if execution is not None else None
        return seq is not None and not self._holds.is_ahead(lease.workflow_id, seq)

    async def _answer_claim(self, wanted: ClaimWanted, leases: list[Lease]) -> None:
        """Read the runs of claimed tasks as committed, then answer the poller."""
        polled = await self._read_claimed(leases)
        if not wanted.waiter.resolve(polled):
            self.give_back(polled)

    async def _read_claimed(self, leases: list[Lease]) -> list[Polled]:
        ids = list(dict.fromkeys(lease.workflow_id for lease in leases))
        polled: list[Polled] = []
        try:
            loaded = await self._store.load([(workflow_id, 0) for workflow_id in ids])
            for lease in leases:
                found = loaded.get(lease.workflow_id)
                if found is None:
                    continue
                graph = await self._definitions.graph(found.workflow.definition)
                execution = self._learn(lease, build(found, graph))
                view = polled_view(execution, lease)
                if view is not None:
                    polled.append(view)
            return await whole_polled(self._store, polled)
        except StoreError:
            _log.warning("tasks claimed but not read are given back", exc_info=True)
            self.give_back_leases(leases)
        except Exception:  # noqa: BLE001  one run that cannot be read
            if len(leases) > 1:  # it must not keep the others from their worker
                return [one for lease in leases for one in await self._read_claimed([lease])]
            # A run that cannot be read would be claimed again at once, for ever, by every
            # poller: its lease keeps it away from them until it ends.
            _log.exception("tasks claimed cannot be read: %s", ids)
        return []

    def _learn(self, lease: Lease, fresh: Execution) -> Execution:
        """Note a lease in the run that memory has, or keep the one just read."""
        cached = self._cache.peek(lease.workflow_id)
        if cached is not None and cached.workflow.version >= fresh.workflow.version:
            cached.leases[lease.task_id] = lease
        elif lease.workflow_id not in self._holds:
            self._cache.put(fresh)
        return fresh

    def _resolve_claim(self, wanted: ClaimWanted, leases: list[Lease]) -> None:
        polled = []
        for lease in leases:
            execution = self._cache.get(lease.workflow_id)
            assert execution is not None, "looked up in the same turn of the loop"
            execution.leases[lease.task_id] = lease
            view = polled_view(execution, lease)
            if view is not None:
                polled.append(view)
        self._answer(wanted.waiter, polled)

    def _answer(self, waiter: Waiter, polled: list[Polled]) -> None:
        """Answer a poller; first read the payloads that memory has only the sizes of."""
        if not all(one.input.is_loaded and one.output.is_loaded for one in polled):
            self._spawn(self._answer_whole(waiter, polled))
        elif not waiter.resolve(polled):
            self.give_back(polled)

    async def _answer_whole(self, waiter: Waiter, polled: list[Polled]) -> None:
        try:
            whole = await whole_polled(self._store, polled)
        except StoreError:
            _log.warning("tasks whose payloads cannot be read are given back", exc_info=True)
            self.give_back(polled)
            whole = []
        except Exception:  # noqa: BLE001  one payload that cannot be read: as a run
            whole = await self._read_claimed([one.lease for one in polled])
        if not waiter.resolve(whole):
            self.give_back(whole)

    def give_back(self, polled: Sequence[Polled]) -> None:
        """Return tasks whose answer found nobody; they are ready again in their old place."""
        self.give_back_leases([found.lease for found in polled])

    def give_back_leases(self, leases: Sequence[Lease]) -> "list[asyncio.Future[int | None]]":
        """Return leased tasks nobody works on; each answer is None for a lease that had gone."""
        answers = []
        for lease in leases:
            touch = Touch(
                task_id=lease.task_id,
                poll_count=lease.poll_count,
                polled_at_ms=lease.polled_at_ms,
                is_given_back=True,
            )
            answer = self._touch(touch)
            answer.add_done_callback(partial(self._given_back, lease))
            answers.append(answer)
        return answers

    def _given_back(self, lease: Lease, answer: "asyncio.Future[int | None]") -> None:
        if answer.cancelled():
            return
        if answer.exception() is not None:
            self._spawn(self._give_back_again(lease))
            return
        execution = self._cache.peek(lease.workflow_id)
        if execution is not None and execution.leases.get(lease.task_id) == lease:
            del execution.leases[lease.task_id]
        self._queues.hint(lease.queue)

    async def _give_back_again(self, lease: Lease) -> None:
        """After an unknown outcome: give the lease back if it still is this very one."""
        for _ in range(LOOKS_MAX):
            await pause(LOOK_PAUSE_S)
            try:
                loaded = await self._store.load([(lease.workflow_id, 0)])
            except StoreError:
                continue  # still in trouble
            found = loaded.get(lease.workflow_id)
            if found is not None and lease in found.leases:
                self.give_back_leases([lease])
            else:
                self._queues.hint(lease.queue)
            return
        _log.warning("task %s could not be given back; its lease will end", lease.task_id)
