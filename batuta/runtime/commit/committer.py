"""Group commit: many commands, one transaction, then the answers.

Theory of operation. Commands pile up in an inbox; a pump takes those whose runs are free and in
memory, decides them, and hands the store one batch: decisions, claims of pollers, heartbeats.
While that batch syncs the next is decided, over other runs only (PIPELINE_DEPTH); a run is in one
batch at a time and its later commands wait in their order. Nobody is told anything before the
batch is durable. A run that must be loaded, or a command that needs something fetched, leaves
the batch to the others and comes back. A refused (stale) decision is dropped from memory, loaded
and decided again; after an unknown outcome the journal is asked what became of it, then and
whenever the run is read anew: the batch may come late (design 013).

Every wake-up is a call of ``wake``; the once-a-second timer loop calls it too.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from batuta.core.decide import decide
from batuta.core.execution import Execution
from batuta.model.command import Command
from batuta.model.error import StoreError
from batuta.runtime.clock import pause
from batuta.runtime.commit.backlog import Backlog, payload_bytes
from batuta.runtime.commit.batch import ATTEMPTS_MAX, DecideFunction, Share, Submitted, Unit
from batuta.runtime.commit.cache import Cache
from batuta.runtime.commit.conclude import Concluder
from batuta.runtime.commit.flight import ClaimWanted, Flight, Touching
from batuta.runtime.commit.gather import Gatherer
from batuta.runtime.commit.handout import Handout
from batuta.runtime.commit.load import TROUBLE_PAUSE_S, TROUBLE_WAIT_S, Loader
from batuta.runtime.fetch import Fetcher
from batuta.runtime.queues import Queue, Queues, Waiter
from batuta.store.base import Accepted, Batch, Committed, Part, Store, Touch

# Commands a transaction: bounds its latency and memory, and leaves some for the next batch, which
# is decided while this one syncs. 200 clients in step: 850 chains a second at 256, 1,200 at 100.
BATCH_MAX = 100
PIPELINE_DEPTH = 2  # batches in flight: one syncs while the next is decided
ALONE_FROM_ATTEMPT = 2  # from here a command is committed alone: a poison one hurts nobody else

_log = logging.getLogger(__name__)


class Committer:
    """Decides commands in order of arrival and answers each once its changes are durable.

    Args:
        now_ms: Store time.
        seeds: Gives 16 random bytes for each command.
        on_commit: Told of each accepted share after the batch is durable: timers, listeners.
        node: Differs between nodes of one store; request ids begin with it.
        trouble_wait_s: How long commands wait for a store that answers with errors.
    """

    # The parts of a queue from which may be claimed now; see ``runtime.limit``.
    parts_of: Callable[[Queue], Sequence[Part]] = staticmethod(lambda _: ())

    def __init__(  # noqa: PLR0913  the composition of the engine's hot path
        self,
        store: Store,
        *,
        cache: Cache,
        fetcher: Fetcher,
        now_ms: Callable[[], int],
        seeds: Callable[[], bytes],
        on_commit: Callable[[Share], None],
        environment: dict[str, str] | None = None,
        node: str = "n",
        trouble_wait_s: float = TROUBLE_WAIT_S,
        deciding: DecideFunction = decide,
    ) -> None:
        self._store = store
        self._cache = cache
        self._now_ms = now_ms
        self._seeds = seeds
        self._node = node
        self._inbox: deque[Submitted] = deque()
        self.backlog = Backlog()
        self._claims: deque[ClaimWanted] = deque()
        self._touches: list[Touching] = []
        self._in_flight = self._request_count = 0
        self._is_awake = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.queues = Queues(now_ms, self._want_claim)
        fetcher.is_active = self.queues.is_active
        self._gatherer = Gatherer(
            cache=cache,
            fetcher=fetcher,
            queues=self.queues,
            seeds=seeds,
            environment=environment or {},
            is_shared=store.is_shared,
            deciding=deciding,
        )
        self._holds = self._gatherer.holds
        self._concluder = Concluder(
            cache=cache,
            holds=self._holds,
            queues=self.queues,
            is_shared=store.is_shared,
            release=self._release,
            on_commit=on_commit,
        )
        self._loader = self._new_loader(fetcher, trouble_wait_s)
        self._handout = self._new_handout(fetcher)
        self.give_back = self._handout.give_back
        self.give_back_leases = self._handout.give_back_leases

    def _new_loader(self, fetcher: Fetcher, trouble_wait_s: float) -> Loader:
        return Loader(
            self._store,
            cache=self._cache,
            fetcher=fetcher,
            holds=self._holds,
            release=self._release,
            trouble_wait_s=trouble_wait_s,
            now_ms=self._now_ms,
        )

    def _new_handout(self, fetcher: Fetcher) -> Handout:
        return Handout(
            self._store,
            cache=self._cache,
            queues=self.queues,
            definitions=fetcher.definitions,
            touch=self.touch,
            holds=self._holds,
            spawn=self.spawn,
        )

    @property
    def stored_targets(self) -> set[str]:
        """Runs that Sends in the table wait for; the timers' passes keep it true."""
        return self._gatherer.stored_targets

    def know_targets(self, *, are_known: bool) -> None:
        """Say whether ``stored_targets`` is whole; until it is, Sends to known runs become rows."""
        self._gatherer.knows_targets = are_known

    @property
    def is_idle(self) -> bool:
        """True when nothing waits, is fetched or is at the store."""
        waiting = self._inbox or self._claims or self._touches
        return not (waiting or self._holds or self._in_flight or self._tasks)

    def submit(
        self, command: Command, *, actor: str = "", send_id: int | None = None
    ) -> "asyncio.Future[Execution]":
        """Have a command decided and committed.

        Returns:
            Resolved, after the changes are on disk, with the run they were decided on; or the
            BatutaError by which the run's state or the store refuses it.
        """
        answer = self.enter(command, actor=actor, send_id=send_id).answer
        assert answer, "a submitted command has an answer"
        return answer

    def enter(
        self,
        command: Command,
        *,
        actor: str = "",
        send_id: int | None = None,
        poll_worker: Waiter | None = None,
    ) -> Submitted:
        """Have a command decided; ``poll_worker`` polls the queue of its task with it.

        Refused at once, with BusyError, when too much is waiting already.
        """
        self._request_count += 1
        submitted = Submitted(
            command,
            asyncio.get_running_loop().create_future(),
            seed=self._seeds(),
            actor=actor,
            request_id=f"{self._node}{self._request_count:x}",
            send_id=send_id,
        )
        submitted.poll_worker = poll_worker
        # A stored Send was taken in when it was made: refused again and again it would be set
        # aside.
        busy = self.backlog.refusal(command, len(self._inbox)) if send_id is None else None
        if busy is not None:
            submitted.refuse(busy)
            return submitted
        submitted.backlog = self.backlog
        submitted.size_bytes = payload_bytes(command)
        self.backlog.size_bytes += submitted.size_bytes
        self._inbox.append(submitted)
        self.wake()
        return submitted

    def touch(self, touch: Touch) -> "asyncio.Future[int | None]":
        """Renew or give back a lease; its new time, None when it is no longer that one."""
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._touches.append(Touching(touch, answer))
        self.wake()
        return answer

    def wake(self) -> None:
        """Have the pump run soon; what arrives in this turn of the loop shares a batch."""
        if not self._is_awake:
            self._is_awake = True
            asyncio.get_running_loop().call_soon(self._pump)

    async def committed(self, workflow_id: str, *, is_from_store: bool = False) -> Execution:
        """Return a run as the disk has it; raises NotFoundError when there is none."""
        return await self._loader.committed(workflow_id, is_from_store=is_from_store)

    # -- gathering a batch --------------------------------------------------------------------

    def _want_claim(self, queue: Queue, waiter: Waiter) -> None:
        self._claims.append(ClaimWanted(queue, waiter))
        self.wake()

    def _pump(self) -> None:
        self._is_awake = False
        while self._in_flight < PIPELINE_DEPTH and (self._inbox or self._claims or self._touches):
            now_ms = self._now_ms()
            flight = Flight()
            try:
                self._gather(flight, now_ms)
                batch = flight.batch(now_ms, self.parts_of)
            except Exception as error:  # noqa: BLE001  a bug fails its batch, not the pump
                _log.exception("gathering a batch failed")
                for share in flight.shares.values():
                    self._concluder.give_up_share(share, error)
                flight.refuse(error)
                continue
            for unit in flight.quiet:
                if self._concluder.is_sure(unit):
                    self._concluder.conclude(unit)
                else:
                    self._concluder.look_again(unit)
            if not flight.is_empty:
                self._in_flight += 1
                self.spawn(self._commit(flight, batch))

    def _gather(self, flight: Flight, now_ms: int) -> None:
        """Decide what has arrived and is free to be decided."""
        try:
            is_alone = self._decide_inbox(flight, now_ms)
        finally:  # whatever happened, the runs that are held for a fetch must come back
            if flight.to_load:
                self.spawn(self._loader.load(flight.to_load))
            for work in flight.to_fetch:
                self.spawn(self._loader.fetch(*work))
        if not is_alone:
            claims, self._claims = self._claims, deque()
            for wanted in claims:
                if wanted.waiter.is_open():
                    flight.claims.append(wanted)
                else:
                    self.queues.serve(wanted.queue)  # its client has gone: the next in line
            flight.touches, self._touches = self._touches, []
        flight.close(self.queues, now_ms)

    def _decide_inbox(self, flight: Flight, now_ms: int) -> bool:
        """Decide from the inbox; True when a command that has failed before goes alone."""
        for _ in range(min(len(self._inbox), BATCH_MAX)):
            is_alone = self._inbox[0].attempts >= ALONE_FROM_ATTEMPT
            if is_alone and flight.shares:
                return False
            self._gatherer.take(self._inbox.popleft(), flight, now_ms)
            if is_alone and flight.shares:
                return True
        return False

    def _release(self, workflow_id: str) -> None:
        again = self._holds.release(workflow_id)
        if again:
            self._inbox.extendleft(reversed(again))
            self.wake()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the batches; the node is not idle until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- committing and answering ---------------------------------------------------------------

    async def _commit(self, flight: Flight, batch: Batch) -> None:
        """Write a batch, then tell everybody what became of it."""
        try:
            committed = await self._store.commit(batch)
        except Exception as error:  # noqa: BLE001  an unknown outcome, whatever the reason
            _log.warning("a commit of %d runs failed: %r", len(flight.shares), error)
            await self._find_out(flight, error)
        else:
            self._conclude_all(flight, committed)
            self._hand_out(flight, committed)
        finally:
            self._in_flight -= 1
            self._cache.shrink(self._holds)
            self.wake()

    def _conclude_all(self, flight: Flight, committed: Committed) -> None:
        """Answer or decide again; then give the tasks that went straight to pollers."""
        accepted: set[Unit] = set()
        taken = Counter(lease.queue for leases in committed.claimed for lease in leases)
        for unit, verdict in zip(flight.units, committed.verdicts, strict=True):
            if isinstance(verdict, Accepted):
                accepted.add(unit)
        for grant in flight.grants:
            self._handout.grant(grant, accepted)
        for unit in flight.units:
            if unit in accepted:
                self._concluder.conclude(unit, taken)
            else:
                self._concluder.decide_again(unit)

    def _hand_out(self, flight: Flight, committed: Committed) -> None:
        try:
            self._handout.hand_out(flight, committed)
        except Exception:  # noqa: BLE001  a bug here must not leave pollers waiting
            _log.exception("handing out claimed tasks failed; their leases will end")
            for wanted in flight.claims:
                wanted.waiter.resolve([])

    async def _find_out(self, flight: Flight, error: Exception) -> None:
        """After an unknown outcome, ask the journal which decisions are on disk."""
        done = await self._ask(flight)
        accepted = {unit for unit, is_done in zip(flight.units, done, strict=True) if is_done}
        # What is on disk may be an earlier try, that came late: decided at another time, and
        # with its tasks in the queue where this one had leased them.
        unsure = {unit for unit in accepted if unit.has_been_tried()}
        for grant in flight.grants:
            self._handout.look_after(grant, unsure)
            self._handout.grant(grant, accepted - unsure)
        for unit in flight.units:
            if unit in unsure:
                self._concluder.find_again(unit)
            elif unit in accepted:
                self._concluder.conclude(unit)
            elif all(s.attempts + 1 < ATTEMPTS_MAX for sh in unit.shares for s in sh.commands):
                unit.note_unknown()
                self._concluder.decide_again(unit)
            else:
                self._concluder.give_up(unit, error)
        if flight.claims or flight.touches:
            await pause(TROUBLE_PAUSE_S)  # a store that goes on failing is not asked in a spin
        for wanted in flight.claims:
            wanted.queue.may_have = True
            self.queues.put_back(wanted.queue, wanted.waiter)
        for touching in flight.touches:
            touching.attempts += 1
            # A give-back that was done after all is not one again: by now the task may be in
            # other hands under the same poll count. Whoever gave it back looks first.
            if touching.attempts < ATTEMPTS_MAX and not touching.touch.is_given_back:
                self._touches.append(touching)
            elif not touching.answer.done():
                reason = f"the heartbeat was not stored: {error}"
                touching.answer.set_exception(StoreError(reason))

    async def _ask(self, flight: Flight) -> list[bool]:
        """Ask the journal which units are on disk; see ``Loader.settled``."""
        shares = [next(share for share in unit.shares if share.entries) for unit in flight.units]
        wanted = [
            (share.execution.workflow.workflow_id, share.entries[-1].version, share.request_id)
            for share in shares
        ]
        # A poll must not wait for a store in trouble longer than its own time.
        return await self._loader.settled(wanted) if wanted else []
