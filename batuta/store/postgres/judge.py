"""Judge decisions against rows that the transaction has read and locked. Touches no database.

What is read first (``Wanted``) holds everything a decision can be refused for; so nothing is
written before it is known to stay.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from batuta.model.change import Change, DropSend, PutLease, Release, Reserve, SendInPlace
from batuta.model.execution import Lease
from batuta.store.base import Accepted, Batch, Decision, Stale, Taken, Verdict

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True)
class Wanted:
    """The keys of what a batch must lock. Each list in the order in which it is locked."""

    runs: list[str]
    tasks: list[str]  # whose lease is released or touched
    unleased: list[str]  # of those: that a decision has seen without a lease
    sends: list[int]
    pairs: list[tuple[str, str]]  # sender and target of Sends settled in place
    reserves: list[tuple[str, str]]


@dataclass(slots=True)
class Held:
    """A lease with its task's place in the queue, as ``Store.commit`` gives it back."""

    lease: Lease
    seq: int | None  # None: the task's row knows
    priority: int
    queued_at_ms: int


@dataclass(slots=True)
class World:
    """What is stored of the wanted keys; ``judge`` keeps it as of the decisions accepted."""

    versions: dict[str, int] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    queued: set[str] = field(default_factory=set)  # and locked, so that they stay
    moved: set[str] = field(default_factory=set)  # had a lease while the run was locked
    sends: set[int] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)  # that have a Send stored
    reserves: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)


def is_id(word: str) -> bool:
    """Return whether the word can be an id; PostgreSQL refuses to compare any other."""
    return _ID.fullmatch(word) is not None


def wanted(batch: Batch) -> Wanted:
    """Return what must be read and locked before the batch can be judged."""
    runs: set[str] = set()
    tasks: set[str] = {touch.task_id for touch in batch.touches if is_id(touch.task_id)}
    unleased: set[str] = set()
    sends: set[int] = set()
    pairs: set[tuple[str, str]] = set()
    reserves: set[tuple[str, str]] = set()
    for decision in batch.decisions:
        runs.update(changes.workflow_id for changes in decision.runs)
        pairs.update(_pairs(decision))
        for change in _changes(decision):
            match change:
                case Release():
                    tasks.add(change.task_id)
                    if not change.poll_count:
                        unleased.add(change.task_id)
                case DropSend():
                    sends.add(change.send_id)
                case Reserve():
                    reserves.add((change.scope, change.key))
                case _:
                    pass
    return Wanted(
        runs=sorted(runs),
        tasks=sorted(tasks),
        unleased=sorted(unleased),
        sends=sorted(sends),
        pairs=sorted(pairs),
        reserves=sorted(reserves),
    )


def judge(decisions: list[Decision], world: World, now_ms: int) -> list[Verdict]:
    """Return what becomes of each decision; those accepted are seen by the ones after them."""
    verdicts: list[Verdict] = []
    for decision in decisions:
        verdict = _verdict(decision, world, now_ms)
        if isinstance(verdict, Accepted):
            _accept(decision, world)
        verdicts.append(verdict)
    return verdicts


def _verdict(decision: Decision, world: World, now_ms: int) -> Verdict:
    for changes in decision.runs:
        if changes.version_from != world.versions.get(changes.workflow_id, 0):
            return Stale()
    if not _are_leases_as_seen(decision, world):
        return Stale()
    drops = [change.send_id for change in _changes(decision) if isinstance(change, DropSend)]
    if len(drops) != len(set(drops)) or not world.sends.issuperset(drops):
        return Stale()
    if not world.pairs.isdisjoint(_pairs(decision)):
        return Stale()
    for change in _changes(decision):
        if isinstance(change, Reserve):
            owner, until_ms = world.reserves.get((change.scope, change.key), ("", 0))
            if until_ms > now_ms and owner != change.workflow_id:
                return Taken(owner)
    return Accepted()


def _are_leases_as_seen(decision: Decision, world: World) -> bool:
    """Compare each task's lease with what its first Release saw; later ones see the decision."""
    settled: set[str] = set()
    for change in _changes(decision):
        if isinstance(change, PutLease):
            settled.add(change.lease.task_id)
        if not isinstance(change, Release) or change.task_id in settled:
            continue
        settled.add(change.task_id)
        held = world.held.get(change.task_id)
        if change.poll_count != (held.lease.poll_count if held else 0):
            return False
        if not change.poll_count and change.task_id in world.moved:
            return False  # given back since; another poll may have it by now
        limit_ms = change.expired_at_ms
        if held and limit_ms is not None and held.lease.expires_at_ms > limit_ms:
            return False
    return True


def _accept(decision: Decision, world: World) -> None:
    for changes in decision.runs:
        world.versions[changes.workflow_id] = changes.version_to
    for change in _changes(decision):
        match change:
            case DropSend():
                world.sends.discard(change.send_id)
            case Reserve():
                world.reserves[change.scope, change.key] = (change.workflow_id, change.until_ms)
            case _:
                pass


def _pairs(decision: Decision) -> list[tuple[str, str]]:
    """Return the senders and targets of the Sends that a decision settles in place."""
    return [
        (changes.workflow_id, change.workflow_id)
        for changes in decision.runs
        for change in changes.changes
        if isinstance(change, SendInPlace)
    ]


def _changes(decision: Decision) -> Iterator[Change]:
    return (change for changes in decision.runs for change in changes.changes)
