"""What the cases examine, and the few steps that most of them begin with."""

from collections.abc import Sequence
from typing import Any, Protocol

from batuta.model.change import Change
from batuta.model.execution import Lease, Task, Workflow
from batuta.store.base import (
    Accepted,
    Catalog,
    Claim,
    Committed,
    Journal,
    Loaded,
    RunChanges,
    Search,
    Stale,
    Store,
    Touch,
)
from batuta.store.failing import Quarantine
from batuta.store.keep import Keep
from batuta.testing import builders
from batuta.testing.builders import NOW_MS

ACCEPTED = Accepted()
STALE = Stale()


class Subject(Store, Catalog, Journal, Search, Keep, Quarantine, Protocol):
    """A complete store."""


async def accept(
    store: Subject,
    *runs: RunChanges,
    now_ms: int = NOW_MS,
    claims: Sequence[Claim] = (),
    touches: Sequence[Touch] = (),
) -> Committed:
    """Commit each run as a decision of its own; all must be accepted."""
    committed = await store.commit(
        builders.batch(*runs, now_ms=now_ms, claims=claims, touches=touches)
    )
    assert committed.verdicts == [ACCEPTED] * len(runs)
    return committed


async def a_run(store: Subject, *changes: Change, **fields: Any) -> Workflow:
    """Store a new run at version 1 with ``changes``; ``fields`` are of its header."""
    header = builders.workflow(**fields)
    await accept(store, builders.start(header, *changes))
    return header


async def queued(
    store: Subject, count: int = 1, queue: str = "build", **fields: Any
) -> tuple[Workflow, list[Task]]:
    """Store a run at version 1 with ``count`` ready tasks; ``fields`` are of each Enqueue."""
    tasks = [builders.task(seq, queue=queue) for seq in range(1, count + 1)]
    puts = [builders.put_task(task) for task in tasks]
    offers = [builders.enqueue(task, queue, **fields) for task in tasks]
    return await a_run(store, *puts, *offers), tasks


async def poll(
    store: Subject, queue: str = "build", count: int = 1, now_ms: int = NOW_MS
) -> list[Lease]:
    """Claim tasks of a queue in a batch of its own."""
    committed = await store.commit(
        builders.batch(now_ms=now_ms, claims=[builders.claim(queue, count)])
    )
    return committed.claimed[0]


async def touch(
    store: Subject, lease: Lease, *, is_given_back: bool = False, now_ms: int = NOW_MS
) -> bool:
    """Renew a lease or give it back, in a batch of its own."""
    wish = (
        builders.give_back(lease)
        if is_given_back
        else Touch(task_id=lease.task_id, poll_count=lease.poll_count)
    )
    committed = await store.commit(builders.batch(now_ms=now_ms, touches=[wish]))
    return committed.touched[0]


async def loaded(store: Subject, workflow_id: str, version_known: int = 0) -> Loaded:
    """Load a run that must exist."""
    return (await store.load([(workflow_id, version_known)]))[workflow_id]


async def version(store: Subject, workflow_id: str) -> int:
    """Return the version of a run; 0 when there is none."""
    found = await store.load([(workflow_id, 0)])
    return found[workflow_id].workflow.version if found else 0
