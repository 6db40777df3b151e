"""A batch at the store, with everybody who waits for it."""

import asyncio
from collections.abc import Callable, Sequence

from batuta.core.execution import Execution
from batuta.model.change import Enqueue, Needs, PutLease
from batuta.model.error import StoreError
from batuta.model.execution import Lease, lease_expiry_ms
from batuta.model.limit import split_part
from batuta.model.payload import EMPTY
from batuta.runtime.commit.batch import Share, Submitted, Unit
from batuta.runtime.queues import Queue, Queues, Waiter
from batuta.runtime.view import Polled
from batuta.store.base import Batch, Claim, Part, Touch


class ClaimWanted:
    """A waiter who is to be served from the table."""

    __slots__ = ("hint_count", "queue", "waiter")

    def __init__(self, queue: Queue, waiter: Waiter) -> None:
        self.queue = queue
        self.waiter = waiter
        self.hint_count = queue.hint_count


class Touching:
    """A heartbeat or a give-back on its way; a heartbeat may be asked for again without harm."""

    __slots__ = ("answer", "attempts", "touch")

    def __init__(self, touch: Touch, answer: "asyncio.Future[int | None]") -> None:
        self.touch = touch
        self.answer = answer
        self.attempts = 0


class Grant:
    """Tasks that go straight from a decision into a waiter's hands."""

    __slots__ = ("leases", "queue", "waiter")

    def __init__(self, queue: Queue, waiter: Waiter) -> None:
        self.queue = queue
        self.waiter = waiter
        self.leases: list[tuple[Share, Lease]] = []


class Flight:
    """What one batch carries."""

    __slots__ = (
        "claims",
        "followers",
        "grants",
        "now_ms",
        "quiet",
        "shares",
        "to_fetch",
        "to_load",
        "touches",
        "units",
    )

    def __init__(self) -> None:
        self.now_ms = 0  # store time of its batch
        self.shares: dict[str, Share] = {}
        self.units: list[Unit] = []  # with something to write
        self.quiet: list[Unit] = []  # decided, but nothing changed: answered without a commit
        self.claims: list[ClaimWanted] = []
        self.touches: list[Touching] = []
        self.grants: list[Grant] = []
        self.followers: list[tuple[Queue, Submitted]] = []
        self.to_load: list[str] = []
        self.to_fetch: list[tuple[Execution, Submitted, Needs]] = []

    @property
    def is_empty(self) -> bool:
        """True when the store has nothing to write."""
        return not (self.claims or self.touches or self.units)

    def close(self, queues: Queues, now_ms: int) -> None:
        """Turn Enqueues into leases where somebody waits, and see to update-and-poll callers."""
        for unit in dict.fromkeys(share.unit for share in self.shares.values()):
            has_entries = any(share.entries for share in unit.shares)
            (self.units if has_entries else self.quiet).append(unit)
        following = [
            (queue, waiter)
            for queue, submitted in self.followers
            # One whose caller wants no task any more (a node that drains) is an update alone; one
            # whose claim is under way still, after a commit that failed, is answered by that.
            if (waiter := submitted.poll_worker) is not None
            and waiter.is_open()
            and not waiter.is_reserved
        ]
        for queue, waiter in following:
            queue.waiters.append(waiter)
        self._lease_directly(queues, now_ms)
        followers = [(queue, waiter) for queue, waiter in following if not waiter.is_reserved]
        for queue, waiter in reversed(followers):
            last = queue.waiters.pop()
            assert last is waiter, "nobody has come to the line since they did"
        for queue, waiter in followers:
            if queue.may_have:
                waiter.is_reserved = True
                self.claims.append(ClaimWanted(queue, waiter))
            else:
                waiter.resolve([])

    def refuse(self, error: Exception) -> None:
        """Answer all who wait for claims, grants and heartbeats: the batch was never made."""
        for waiter in [wanted.waiter for wanted in self.claims] + [g.waiter for g in self.grants]:
            waiter.resolve([])
        for touching in self.touches:
            if not touching.answer.done():
                touching.answer.set_exception(StoreError(f"the lease was not written: {error}"))

    def batch(self, now_ms: int, parts_of: Callable[[Queue], Sequence[Part]]) -> Batch:
        """Return what the store is to write; ``parts_of`` says the parts whose limit is known."""
        self.now_ms = now_ms
        return Batch(
            now_ms=now_ms,
            decisions=[unit.decision() for unit in self.units],
            claims=[
                Claim(
                    queue=c.queue.name,
                    worker_id=c.waiter.worker_id,
                    count=c.waiter.count,
                    parts=parts_of(c.queue) if c.queue.parts else (),
                )
                for c in self.claims
            ],
            touches=[touching.touch for touching in self.touches],
        )

    def _lease_directly(self, queues: Queues, now_ms: int) -> None:
        """Give new tasks to waiting pollers, FIFO, where the table holds no older ones."""
        ready = [
            (share, enqueue)
            for share in self.shares.values()
            for enqueue in share.enqueued.values()
        ]
        if any(enqueue.priority for _, enqueue in ready):
            ready.sort(key=lambda pair: (-pair[1].priority, pair[1].task_id))
        grants: dict[str, Grant] = {}
        for share, enqueue in ready:
            if split_part(enqueue.queue)[1]:
                continue  # the claim counts what its limit leaves
            queue = queues.get(enqueue.queue)
            if queue.may_have:
                continue
            grant = grants.get(enqueue.queue)
            if grant is None or len(grant.leases) >= grant.waiter.count:
                waiter = queue.next_waiter()
                if waiter is None:
                    continue
                waiter.is_reserved = True
                grant = grants[enqueue.queue] = Grant(queue, waiter)
                self.grants.append(grant)
            lease = lease_of(
                enqueue,
                workflow_id=share.execution.workflow.workflow_id,
                worker_id=grant.waiter.worker_id,
                now_ms=now_ms,
            )
            del share.enqueued[enqueue.task_id]
            share.leased.append(
                PutLease(lease=lease, priority=enqueue.priority, at_ms=enqueue.at_ms)
            )
            share.execution.leases[enqueue.task_id] = lease
            grant.leases.append((share, lease))


def polled_view(execution: Execution, lease: Lease) -> Polled | None:
    """Return the task of a lease as its worker gets it; None when it is not that run's."""
    seq = execution.by_id.get(lease.task_id)
    if seq is None:
        return None
    return Polled(
        workflow=execution.workflow,
        task=execution.tasks[seq],
        input=execution.inputs.get(seq) or EMPTY,
        output=execution.outputs.get(seq) or EMPTY,
        lease=lease,
        graph=execution.graph,
    )


def lease_of(enqueue: Enqueue, *, workflow_id: str, worker_id: str | None, now_ms: int) -> Lease:
    """Return the lease of a worker who takes an offered task at ``now_ms``."""
    started_at_ms = enqueue.started_at_ms or now_ms
    return Lease(
        task_id=enqueue.task_id,
        workflow_id=workflow_id,
        queue=enqueue.queue,
        worker_id=worker_id,
        poll_count=enqueue.poll_count + 1,
        started_at_ms=started_at_ms,
        polled_at_ms=now_ms,
        expires_at_ms=lease_expiry_ms(now_ms, started_at_ms, enqueue.lease_ms, enqueue.timeout_ms),
        lease_ms=enqueue.lease_ms,
        timeout_ms=enqueue.timeout_ms,
    )
