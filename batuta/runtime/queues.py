"""Pollers: who waits for which queue, and who gets what.

Tables are the truth; a node keeps for each queue only its waiting pollers (FIFO), whether the
table may hold ready rows (``may_have``), and who polled last. An empty poll touches no store.
A waiter is WAITING, then reserved by a batch that has a task for it, then answered; when its
batch is refused it goes back to the head. A poller whose client has gone is skipped; an answer
that finds nobody is given back.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator

from batuta.model.limit import part_name, split_part
from batuta.runtime.view import PollData, Polled

DOMAIN_ACTIVE_MS = 10_000  # a domain is active when polled this recently (gotchas.md 51)
# The worker id of every worker inside a server's process, and of no other: the API refuses it, so
# that a lease in this name is known to have died with its process (Engine.take_back_local_leases).
LOCAL_WORKER = "in-process"
POLLED_LATELY_MS = 2_000  # two passes of the timers: the queue has pollers that do not wait
QUEUES_MAX = 1_000  # beyond it those not polled for FORGOTTEN_MS are forgotten
FORGOTTEN_MS = 3_600_000  # longer than any poll waits, so that no poller is in its hands
WORKERS_MAX = 1_000  # worker ids remembered a queue, for poll data
FURTHER = 2  # waiters asked for after a full claim: a long line is served in few commits
WAITERS_MAX = 20_000  # long polls a node holds at once; further ones are answered empty at once


class Waiter:
    """A poll that waits; ``answer`` gets its tasks, or nothing when its time is over."""

    __slots__ = ("answer", "count", "deadline", "is_reserved", "timer", "worker_id")

    def __init__(
        self,
        answer: "asyncio.Future[list[Polled]]",
        *,
        worker_id: str | None,
        count: int,
        deadline: float,
    ) -> None:
        self.answer = answer
        self.worker_id = worker_id
        self.count = count
        self.deadline = deadline  # loop time
        self.is_reserved = False
        self.timer: asyncio.TimerHandle | None = None

    def is_open(self) -> bool:
        """True while somebody still waits for the answer."""
        return not self.answer.done()

    def resolve(self, polled: list[Polled]) -> bool:
        """Answer; False when nobody waits any more."""
        if self.timer is not None:
            self.timer.cancel()
        if self.answer.done():
            return False
        self.answer.set_result(polled)
        return True


class Queue:
    """One queue as this node knows it."""

    __slots__ = ("gone_count", "hint_count", "last_polls", "may_have", "name", "parts", "waiters")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiters: deque[Waiter] = deque()
        self.gone_count = 0  # of the waiters, about: those whose client has gone
        self.may_have = True  # unknown until the first claim
        self.hint_count = 0  # a claim that was under way when one came proves nothing
        self.last_polls: dict[str | None, int] = {}
        # Where tasks under a limit wait, by the limit's key; see ``runtime.limit``.
        self.parts: dict[str, str] = {}

    def note_poll(self, worker_id: str | None, now_ms: int) -> None:
        """Remember who polled last; of too many worker ids the one seen longest ago goes."""
        self.last_polls.pop(worker_id, None)
        self.last_polls[worker_id] = now_ms
        if len(self.last_polls) > WORKERS_MAX:
            del self.last_polls[next(iter(self.last_polls))]

    def next_waiter(self) -> Waiter | None:
        """Take the first waiter that is still there."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if waiter.is_open():
                return waiter
            self.gone_count -= 1
        self.gone_count = 0
        return None

    def note_gone(self) -> None:
        """Note that a waiter's client has gone; all such leave once they are half of them.

        So a queue that never has a task does not fill up, and leaving costs O(1) on average.
        """
        self.gone_count += 1
        if self.gone_count * 2 >= len(self.waiters):
            self.waiters = deque(waiter for waiter in self.waiters if waiter.is_open())
            self.gone_count = 0


class Queues:
    """All queues of a node.

    Args:
        now_ms: Store time.
        claim: Called when a waiter should be served from the table.
    """

    def __init__(self, now_ms: Callable[[], int], claim: Callable[[Queue, Waiter], None]) -> None:
        self._now_ms = now_ms
        self._claim = claim
        self._queues: dict[str, Queue] = {}
        self.announced: frozenset[str] = frozenset()  # shown though nothing is in them
        self._waiting_count = 0
        # Called with a limit's key when a queue turns out to have tasks under it.
        self.on_part: Callable[[str], None] = lambda _: None

    def __iter__(self) -> Iterator[Queue]:
        return iter(list(self._queues.values()))

    def announce(self, *names: str) -> None:
        """Have queues shown from now on, also while they are empty and nobody polls them."""
        self.announced |= frozenset(names)

    def last_polls(self) -> dict[str, int]:
        """Return when each queue was polled last, in Unix ms; 0 for one that is announced only."""
        times = {one.name: max(one.last_polls.values(), default=0) for one in self}
        polled = {name: at_ms for name, at_ms in times.items() if at_ms}
        return dict.fromkeys(self.announced, 0) | polled

    def get(self, name: str) -> Queue:
        """Return the queue, known or new."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(name)
        return queue

    async def poll(
        self,
        name: str,
        *,
        worker_id: str | None,
        count: int,
        wait_ms: int,
        on_lost: Callable[[list[Polled]], None],
    ) -> list[Polled]:
        """Return up to ``count`` tasks as soon as there is one; empty after ``wait_ms``.

        Cancelling leaks nothing: a waiter that has gone is passed over, and what it was given
        in the very turn it went is handed to ``on_lost``.
        """
        queue = self.get(name)
        queue.note_poll(worker_id, self._now_ms())
        if not queue.may_have and (wait_ms <= 0 or self._waiting_count >= WAITERS_MAX):
            return []
        loop = asyncio.get_running_loop()
        waiter = Waiter(
            loop.create_future(),
            worker_id=worker_id,
            count=count,
            deadline=loop.time() + wait_ms / 1_000,
        )
        self._waiting_count += 1
        try:
            if queue.may_have and not queue.waiters:
                waiter.is_reserved = True
                self._claim(queue, waiter)
            else:
                self._enter(queue, waiter)
            return await waiter.answer
        except asyncio.CancelledError:
            if waiter.answer.done() and not waiter.answer.cancelled():
                on_lost(waiter.answer.result())
            elif not waiter.is_reserved:
                queue.note_gone()
            raise
        finally:
            self._waiting_count -= 1
            if waiter.timer is not None:
                waiter.timer.cancel()

    def put_back(self, queue: Queue, waiter: Waiter) -> None:
        """Let a waiter whose batch brought nothing wait on, at the head, while it has time."""
        waiter.is_reserved = False
        if waiter.is_open():
            if waiter.deadline <= asyncio.get_running_loop().time():
                waiter.resolve([])
            else:
                queue.waiters.appendleft(waiter)
                self._start_timer(queue, waiter)
        self.serve(queue)

    def hint(self, name: str) -> None:
        """Note that the table has a ready row of a queue or of a part of it, and serve who waits.

        Who knows of several rows hints for each. Where there are more, each full claim asks for
        more of the line (``FURTHER``); so what is asked is in proportion to what is found.
        """
        name, key = split_part(name)
        queue = self.get(name)
        if key and key not in queue.parts:
            queue.parts[key] = part_name(name, key)
            self.on_part(key)
        queue.may_have = True
        queue.hint_count += 1
        self.serve(queue)

    def hint_limit(self, key: str) -> None:
        """Note that a limit may have room again, for whoever waits on any queue."""
        for queue in self:
            if key in queue.parts:
                self.hint(queue.name)

    def serve(self, queue: Queue, count: int = 1) -> None:
        """Have the table asked for the first ``count`` waiters of a queue, in their order.

        Never for all of them: two hundred that come back empty cost more than a step. While the
        table may have more, a claim is under way for somebody, and what it finds decides.
        """
        for _ in range(count):
            if not queue.may_have or (waiter := queue.next_waiter()) is None:
                return
            waiter.is_reserved = True
            self._claim(queue, waiter)

    def recheck(self) -> None:
        """Ask the table for every queue that is waited for; losing all hints costs a second.

        For the first who waits only: when there is more, the others are served then. Of a queue
        whose pollers do not wait, their next poll asks.
        """
        now_ms = self._now_ms()
        if len(self._queues) > QUEUES_MAX:
            self._forget(now_ms - FORGOTTEN_MS)
        for queue in self:
            waiter = queue.next_waiter()
            if waiter is not None:
                queue.may_have = True
                waiter.is_reserved = True
                self._claim(queue, waiter)
            elif now_ms - next(reversed(queue.last_polls.values()), 0) <= POLLED_LATELY_MS:
                queue.may_have = True

    def _forget(self, before_ms: int) -> None:
        """Drop queues that nobody waits for and nobody has polled since; tables keep theirs."""
        for queue in self:
            if not queue.waiters and max(queue.last_polls.values(), default=0) < before_ms:
                del self._queues[queue.name]

    def is_active(self, name: str) -> bool:
        """Say whether a worker has polled the queue lately."""
        queue = self._queues.get(name)
        if queue is None:
            return False
        if queue.waiters:
            return True
        newest_ms = next(reversed(queue.last_polls.values()), 0)  # kept in order of time
        return self._now_ms() - newest_ms <= DOMAIN_ACTIVE_MS

    def release_all(self) -> None:
        """Answer every waiter with nothing: the server is draining."""
        for queue in self:
            while (waiter := queue.next_waiter()) is not None:
                waiter.resolve([])

    def poll_data(self, task_type: str | None = None) -> list[PollData]:
        """Return who polled, the latest first; ``task_type`` without its domain, None for all.

        Conductor keeps one worker of each domain: the first one here.
        """
        found: list[PollData] = []
        for queue in self:
            domain, _, bare = queue.name.rpartition(":")
            if task_type is None or bare == task_type:
                found.extend(
                    PollData(
                        queue=bare,
                        domain=domain or None,
                        worker_id=worker_id,
                        last_poll_at_ms=at_ms,
                    )
                    for worker_id, at_ms in reversed(queue.last_polls.items())
                )
        return found

    def _enter(self, queue: Queue, waiter: Waiter) -> None:
        queue.waiters.append(waiter)
        self._start_timer(queue, waiter)

    def _start_timer(self, queue: Queue, waiter: Waiter) -> None:
        if waiter.timer is None:
            loop = asyncio.get_running_loop()
            waiter.timer = loop.call_at(waiter.deadline, self._expire, queue, waiter)

    @staticmethod
    def _expire(queue: Queue, waiter: Waiter) -> None:
        """End a wait; one that a batch has reserved is answered by the batch."""
        waiter.timer = None
        if waiter.is_reserved:
            return
        waiter.resolve([])
        with contextlib.suppress(ValueError):  # a batch has taken it off already
            queue.waiters.remove(waiter)
