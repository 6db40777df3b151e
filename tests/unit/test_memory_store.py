"""What the memory store adds to the contract: fault points, and strictness with its callers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from batuta.model.change import Change, DropSend, Release, RemoveWorkflow, Send, SetTimer
from batuta.model.command import PauseWorkflow, TimerKind
from batuta.model.error import StoreError
from batuta.model.payload import Payload
from batuta.store.base import Accepted, Batch, RunChanges
from batuta.store.memory import PAYLOAD_INLINE_BYTES_MAX, MemoryStore
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, batch, put_task, put_workflow, start, step, task

Pause = Callable[[str], Awaitable[None]]


def failing_at(wanted: str) -> Pause:
    """Return a pause that fails the store at one point."""

    async def pause(point: str) -> None:
        if point == wanted:
            raise StoreError(f"planned failure at {point}")

    return pause


async def test_a_failure_before_the_commit_writes_nothing() -> None:
    broken = MemoryStore(lambda: NOW_MS, pause=failing_at("commit.before"))
    header = builders.workflow()

    with pytest.raises(StoreError, match="planned"):
        await broken.commit(batch(start(header, request_id="r")))

    again = MemoryStore(lambda: NOW_MS, state=broken.state)
    assert await again.settled([(header.workflow_id, 1, "r")]) == [False]
    assert await again.load([(header.workflow_id, 0)]) == {}


async def test_a_failure_after_the_commit_has_written_everything() -> None:
    broken = MemoryStore(lambda: NOW_MS, pause=failing_at("commit.after"))
    header = builders.workflow()

    with pytest.raises(StoreError, match="planned"):
        await broken.commit(batch(start(header, request_id="r")))

    assert await broken.settled([(header.workflow_id, 1, "r")]) == [True]
    assert list(await broken.load([(header.workflow_id, 0)])) == [header.workflow_id]


@pytest.mark.parametrize(
    ("point", "call"),
    [
        ("load", lambda store: store.load([])),
        ("fetch", lambda store: store.fetch([])),
        ("settled", lambda store: store.settled([])),
        ("due", lambda store: store.due(0, 1)),
        ("find_task", lambda store: store.find_task("")),
        ("catalog", lambda store: store.list_documents("task_def")),
        ("journal", lambda store: store.read_after(0, limit=1)),
        ("search", lambda store: store.counts()),
    ],
)
async def test_every_call_can_be_made_to_fail(
    point: str, call: Callable[[MemoryStore], Awaitable[object]]
) -> None:
    with pytest.raises(StoreError, match=point):
        await call(MemoryStore(lambda: NOW_MS, pause=failing_at(point)))

    await call(MemoryStore(lambda: NOW_MS, pause=failing_at("elsewhere")))


async def test_a_commit_happens_at_one_instant_between_its_pauses() -> None:
    gates = {"commit.before": asyncio.Event(), "commit.after": asyncio.Event()}

    async def pause(point: str) -> None:
        if point in gates:
            await gates[point].wait()

    store = MemoryStore(lambda: NOW_MS, pause=pause)
    header = builders.workflow()
    commit = asyncio.create_task(store.commit(batch(start(header))))
    close_wanted = asyncio.Event()

    assert await store.load([(header.workflow_id, 0)]) == {}
    gates["commit.before"].set()
    while not await store.load([(header.workflow_id, 0)]):
        await asyncio.wait({commit}, timeout=0)
    assert not commit.done()

    async def close() -> None:
        close_wanted.set()
        await store.close()

    closing = asyncio.create_task(close())
    await close_wanted.wait()
    assert not closing.done()
    gates["commit.after"].set()
    await closing
    assert (await commit).verdicts == [Accepted()]


async def test_a_closed_store_refuses_everything() -> None:
    store = MemoryStore(lambda: NOW_MS)
    await store.close()

    for call in (store.load([]), store.commit(batch()), store.now_ms(), store.counts()):
        with pytest.raises(StoreError, match="closed"):
            await call


async def test_store_time_stands_still_while_the_clock_goes_back() -> None:
    clock = [NOW_MS, NOW_MS + 7, NOW_MS - 1_000, NOW_MS + 8]
    store = MemoryStore(lambda: clock.pop(0))

    assert [await store.now_ms() for _ in range(4)] == [
        NOW_MS,
        NOW_MS + 7,
        NOW_MS + 7,
        NOW_MS + 8,
    ]


async def test_a_payload_is_inline_up_to_the_limit() -> None:
    store = MemoryStore(lambda: NOW_MS)
    sizes = (PAYLOAD_INLINE_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX + 1)
    header = builders.workflow()
    puts = [
        put_task(task(seq), input=Payload(b'"' + b"x" * (size - 2) + b'"'))
        for seq, size in enumerate(sizes, start=1)
    ]
    await store.commit(batch(start(header, *puts)))

    found = (await store.load([(header.workflow_id, 0)]))[header.workflow_id]

    assert [(given.is_loaded, given.size_bytes) for _, given, _ in found.tasks if given] == [
        (True, sizes[0]),
        (False, sizes[1]),
    ]


HEADER = builders.workflow()
RUN = HEADER.workflow_id
READY, IDLE, FOREIGN, NEW = task(1), task(2), task(3), task(4)


def changed(**fields: object) -> RunChanges:
    """Return a step of the run with some fields as no committer writes them."""
    return replace(step(RUN, 1), **fields)


ENTRIES = step(RUN, 1, commands=2).entries
BREACHES: list[tuple[str, list[RunChanges]]] = [
    ("each command raises the version", [changed(version_to=3)]),
    ("only a command", [changed(entries=[], version_to=1)]),
    ("one journal entry for each version", [changed(entries=ENTRIES[1:])]),
    ("one journal entry for each version", [changed(entries=ENTRIES[::-1], version_to=3)]),
    ("at most once in a batch", [step(RUN, 1), step(RUN, 2)]),
    ("an id is a UUID", [start(replace(HEADER, workflow_id="w1"))]),
    ("an id is a UUID", [start(replace(HEADER, workflow_id=RUN.upper()))]),
    ("begins with its header", [step(builders.new_id(), 0, put_task(task(1)))]),
    ("its own header", [step(RUN, 1, put_workflow(builders.workflow()))]),
]
CHANGE_BREACHES: list[tuple[str, list[Change]]] = [
    ("one Put for each record", [put_workflow(HEADER), put_workflow(HEADER)]),
    ("a task is put once", [put_task(READY), put_task(READY)]),
    ("stays the same task", [put_task(replace(READY, task_id=builders.new_id()))]),
    ("is used once", [put_task(replace(NEW, task_id=READY.task_id))]),
    ("is used once", [put_task(replace(NEW, task_id=FOREIGN.task_id))]),
    ("an id is a UUID", [put_task(replace(NEW, task_id="t4"))]),
    ("seqs count from 1", [put_task(task(0))]),
    ("a retired task is not written", [builders.retire(IDLE), put_task(IDLE)]),
    ("loaded before it is written", [put_task(IDLE, output=Payload(None, 9))]),
    ("it is queued", [builders.enqueue(READY)]),
    ("it is queued", [builders.put_lease(RUN, READY)]),
    ("it is queued", [builders.enqueue(IDLE), builders.enqueue(IDLE)]),
    ("it is leased", [builders.put_lease(RUN, IDLE), builders.enqueue(IDLE)]),
    ("has no task", [builders.enqueue(NEW)]),
    ("has no task", [builders.enqueue(FOREIGN)]),
    ("has no task", [Release(task_id=FOREIGN.task_id)]),
    ("has no task", [builders.timer(FOREIGN)]),
    ("has no task", [builders.log(FOREIGN, "line")]),
    ("is seq 2, not 1", [builders.enqueue(replace(IDLE, seq=1))]),
    ("names the run of its task", [builders.put_lease(builders.new_id(), IDLE)]),
    ("what expires is a lease", [Release(task_id=READY.task_id, expired_at_ms=NOW_MS)]),
    ("consumed by the run it is for", [DropSend(1)]),
    ("removes its own run", [RemoveWorkflow(builders.new_id())]),
    (
        "nothing is written after a removal",
        [
            RemoveWorkflow(RUN),
            SetTimer(task_id="", kind=TimerKind.CONTINUE, due_at_ms=NOW_MS),
        ],
    ),
]


async def breach(doomed: Batch) -> None:
    """Commit a batch that no committer may build to a store with two runs."""
    store = MemoryStore(lambda: NOW_MS)
    await store.commit(
        batch(
            start(HEADER, put_task(READY), put_task(IDLE), builders.enqueue(READY)),
            start(
                builders.workflow(),
                put_task(replace(FOREIGN, seq=1)),
                Send(PauseWorkflow(builders.new_id())),
            ),
        )
    )
    await store.commit(doomed)


@pytest.mark.parametrize(("promise", "runs"), BREACHES)
async def test_a_batch_that_no_committer_may_build_is_our_bug(
    promise: str, runs: list[RunChanges]
) -> None:
    with pytest.raises(AssertionError, match=promise):
        await breach(batch(*runs))


@pytest.mark.parametrize(("promise", "changes"), CHANGE_BREACHES)
async def test_a_decision_that_no_committer_may_build_is_our_bug(
    promise: str, changes: list[Change]
) -> None:
    with pytest.raises(AssertionError, match=promise):
        await breach(batch(step(RUN, 1, *changes)))


async def test_two_contents_of_one_hash_are_our_bug() -> None:
    store = MemoryStore(lambda: NOW_MS)
    await store.put_snapshot("abc", b"one")

    with pytest.raises(AssertionError, match="hash of one content"):
        await store.put_snapshot("abc", b"two")
