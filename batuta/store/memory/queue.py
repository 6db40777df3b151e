"""Ready tasks and leases: into the queue, into hands, back, and out."""

from bisect import bisect_left, insort
from collections import Counter

from msgspec.structs import replace

from batuta.model.change import Enqueue, PutLease, Release
from batuta.model.execution import Lease, lease_expiry_ms
from batuta.model.limit import Limit, LimitUse, split_part
from batuta.store.allot import allot, asked, limits_of
from batuta.store.base import Claim, QueueDepth, Touch
from batuta.store.failing import LEASE
from batuta.store.memory.due import forget
from batuta.store.memory.rows import Held, Ready, State


def enqueue(state: State, workflow_id: str, change: Enqueue) -> None:
    """Line the task up in its queue."""
    assert_free(state, change.task_id)
    ready = Ready(workflow_id, change)
    state.ready[change.task_id] = ready
    insort(state.queues.setdefault(change.queue, []), ready.place)
    state.rows_written += 1


def put_lease(state: State, change: PutLease, seq: int) -> None:
    """Give the task into its holder's hands without a stay in the queue."""
    lease = change.lease
    assert_free(state, lease.task_id)
    state.held[lease.task_id] = Held(lease, seq, at_ms=change.at_ms, priority=change.priority)
    state.rows_written += 1


def release(state: State, change: Release) -> None:
    """Take the task out of its queue or its holder's hands, wherever it is."""
    _leave_queue(state, change.task_id)
    if state.held.pop(change.task_id, None) is not None:
        state.rows_written += 1


def claim(state: State, wish: Claim, now_ms: int) -> list[Lease]:
    """Lease the most urgent ready tasks of a queue, ``wish.count`` at most."""
    if wish.parts:
        return _claim_parts(state, wish, now_ms)
    places = state.queues.get(wish.queue, [])[: wish.count]
    return [_lease(state, wish, task_id, now_ms) for _, _, task_id in places]


def limit_use(state: State, key: str, since_ms: int) -> LimitUse:
    """Return how many tasks of a key are held, and were taken after a time."""
    held = sum(split_part(row.lease.queue)[1] == key for row in state.held.values())
    taken = sum(n for at_ms, n in state.taken.get(key, []) if at_ms > since_ms)
    return LimitUse(held=held, taken=taken)


def _claim_parts(state: State, wish: Claim, now_ms: int) -> list[Lease]:
    heads = {name: state.queues.get(name, [])[:count] for name, count in asked([wish]).items()}
    limits = limits_of([wish])

    def use_of(key: str, limit: Limit) -> LimitUse:
        return limit_use(state, key, now_ms - limit.window_ms)

    [shares] = allot([wish], heads, use_of)
    leases = []
    for name, count in shares.items():
        leases += [_lease(state, wish, task_id, now_ms) for _, _, task_id in heads[name][:count]]
        key = split_part(name)[1]
        limit = limits.get(key)
        if limit is not None and limit.taken_max > 0:
            kept = [one for one in state.taken.get(key, []) if one[0] > now_ms - limit.window_ms]
            state.taken[key] = [*kept, (now_ms, count)]
    return leases


def touch(state: State, wish: Touch, now_ms: int) -> bool:
    """Renew the lease or put its task back into the queue; False when it is another lease."""
    held = state.held.get(wish.task_id)
    if held is None or held.lease.poll_count != wish.poll_count:
        return False
    lease = held.lease
    forget(state, lease.workflow_id, LEASE, lease.task_id)
    if wish.is_given_back:
        if lease.polled_at_ms != wish.polled_at_ms:
            return False
        _give_back(state, held)
        return True
    renewed = replace(
        lease,
        polled_at_ms=now_ms,
        expires_at_ms=lease_expiry_ms(
            now_ms, lease.started_at_ms, lease.lease_ms, lease.timeout_ms
        ),
    )
    state.held[lease.task_id] = Held(renewed, held.seq, held.at_ms, held.priority)
    state.rows_written += 1
    return True


def depths(state: State) -> list[QueueDepth]:
    """Return the queues that have ready or leased tasks, by name."""
    ready, held = state.ready.values(), state.held.values()
    names = {row.enqueue.queue for row in ready} | {row.lease.queue for row in held}
    leased = Counter(row.lease.queue for row in held)
    return [
        QueueDepth(
            queue=name,
            ready=len(state.queues.get(name, ())),
            leased=leased[name],
            oldest_at_ms=min((at_ms for _, at_ms, _ in state.queues.get(name, ())), default=0),
        )
        for name in sorted(names)
    ]


def assert_free(state: State, task_id: str) -> None:
    """Fail unless the task is neither queued nor leased: whoever offers it released it first."""
    assert task_id not in state.ready, f"task {task_id!r} is offered only once: it is queued"
    assert task_id not in state.held, f"task {task_id!r} is offered only once: it is leased"


def _lease(state: State, wish: Claim, task_id: str, now_ms: int) -> Lease:
    offer = state.ready[task_id].enqueue
    started_at_ms = offer.started_at_ms or now_ms
    lease = Lease(
        task_id=task_id,
        workflow_id=state.ready[task_id].workflow_id,
        queue=offer.queue,
        worker_id=wish.worker_id,
        poll_count=offer.poll_count + 1,
        started_at_ms=started_at_ms,
        polled_at_ms=now_ms,
        expires_at_ms=lease_expiry_ms(now_ms, started_at_ms, offer.lease_ms, offer.timeout_ms),
        lease_ms=offer.lease_ms,
        timeout_ms=offer.timeout_ms,
    )
    _leave_queue(state, task_id)
    state.held[task_id] = Held(lease, offer.seq, offer.at_ms, offer.priority)
    state.rows_written += 1
    return lease


def _give_back(state: State, held: Held) -> None:
    lease = held.lease
    del state.held[lease.task_id]
    state.rows_written += 1
    poll_count = lease.poll_count - 1
    offer = Enqueue(
        task_id=lease.task_id,
        seq=held.seq,
        queue=lease.queue,
        at_ms=held.at_ms,
        priority=held.priority,
        lease_ms=lease.lease_ms,
        timeout_ms=lease.timeout_ms,
        poll_count=poll_count,
        # Nobody received the first poll, so the task has not been started.
        started_at_ms=lease.started_at_ms if poll_count else 0,
    )
    enqueue(state, lease.workflow_id, offer)


def _leave_queue(state: State, task_id: str) -> None:
    ready = state.ready.pop(task_id, None)
    if ready is None:
        return
    places = state.queues[ready.enqueue.queue]
    del places[bisect_left(places, ready.place)]
    if not places:
        del state.queues[ready.enqueue.queue]
    state.rows_written += 1
