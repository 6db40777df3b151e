"""The memory store as the model of every other: the same history gives the same answers."""

from typing import Any

import msgspec
import pytest

from batuta.model.payload import Payload
from batuta.store.base import Loaded
from batuta.store.memory import MemoryStore
from batuta.testing.builders import NOW_MS
from batuta.testing.cases.subject import Subject
from batuta.testing.history import History, with_send_ids
from batuta.testing.journal import fold_journal, read_all

SEEDS = 12
BATCHES = 30  # a history; enough that tasks are polled, given back, retired and run out
VIEW_EVERY = 6  # batches between two looks at everything
HORIZON_MS = 65_000  # some leases and timers are within, some beyond
LIMIT = 1_000  # more than a history makes of anything


class ModelCases:
    """Histories played on both."""

    @pytest.mark.parametrize("seed", range(SEEDS))
    async def test_a_random_history_goes_as_in_the_memory_store(
        self, store: Subject, seed: int
    ) -> None:
        await compare_with_model(store, seed)


async def compare_with_model(store: Subject, seed: int, batches: int = BATCHES) -> None:
    """Play one history on the store and on a memory store; fail at the first difference."""
    history = History(seed)
    model: Subject = MemoryStore(lambda: NOW_MS)
    send_ids: dict[int, int] = {}
    stale = await model.load([])
    for number in range(batches):
        fresh = await model.load([(run, 0) for run in history.runs])
        sends = (await model.due(0, LIMIT)).sends
        # Every third decision is made from what was true three batches ago.
        batch = history.next_batch(stale if number % 3 == 2 else fresh, sends)
        if number % 3 == 0:
            stale = fresh

        expected = await model.commit(batch)
        answer = await store.commit(with_send_ids(batch, send_ids))

        assert answer == expected, f"seed {seed}, batch {number}: {batch}"
        await _pair_sends(model, store, send_ids)
        if number % VIEW_EVERY == 0 or number == batches - 1:
            for view in (_loaded, _due, _searched, _journal):
                seen, wanted = await view(store, history), await view(model, history)
                assert seen == wanted, f"seed {seed}, after batch {number}: {batch}"
    await _assert_journal_folds(store, history)


async def _pair_sends(model: Subject, store: Subject, send_ids: dict[int, int]) -> None:
    ours, theirs = await model.due(0, LIMIT), await store.due(0, LIMIT)
    assert [one.document for one in theirs.sends] == [one.document for one in ours.sends]
    send_ids.update(
        {one.send_id: other.send_id for one, other in zip(ours.sends, theirs.sends, strict=True)}
    )


async def _loaded(store: Subject, history: History) -> Any:
    every = await store.load([(run, 0) for run in history.runs])
    newer = await store.load(
        [(run, max(1, found.workflow.version - 3)) for run, found in every.items()]
    )
    return [
        [await _comparable(store, found) for _, found in sorted(answer.items())]
        for answer in (every, newer)
    ]


async def _comparable(store: Subject, found: Loaded) -> Any:
    run = found.workflow.workflow_id
    return (
        found.workflow,
        [await _value(store, run, 0, "variables", found.variables)],
        [
            (
                task,
                await _value(store, run, task.seq, "input", given),
                await _value(store, run, task.seq, "output", result),
            )
            for task, given, result in found.tasks
        ],
        sorted(found.retired),
        sorted(found.leases, key=lambda lease: lease.task_id),
    )


async def _value(store: Subject, run: str, seq: int, part: str, payload: Payload | None) -> Any:
    if payload is None:
        return msgspec.UNSET
    size_bytes = payload.size_bytes
    if not payload.is_loaded:
        [payload] = await store.fetch([(run, seq, part)])
    assert payload.size_bytes == size_bytes, "a payload has one size, loaded or not"
    return payload.value


async def _due(store: Subject, history: History) -> Any:
    until_ms = history.now_ms + HORIZON_MS
    due, soonest = await store.due(until_ms, LIMIT), await store.due(until_ms, 2)
    return (
        sorted(due.timers, key=lambda one: (one.due_at_ms, one.workflow_id, one.task_id, one.kind)),
        sorted(due.leases, key=lambda one: (one.expires_at_ms, one.task_id)),
        # Which of those that are due at the same instant comes first is each store's choice.
        [one.due_at_ms for one in soonest.timers],
        [one.expires_at_ms for one in soonest.leases],
    )


async def _searched(store: Subject, history: History) -> Any:
    return (
        await store.recent(limit=3),
        await store.recent(limit=LIMIT, status="COMPLETED"),
        await store.counts(),
        await store.queues(),
        [await store.logs(task_id) for task_id in history.tasks],
        [await store.find_task(task_id) for task_id in history.tasks],
    )


async def _journal(store: Subject, history: History) -> Any:
    rows = await read_all(store)
    only = [await read_all(store, run) for run in history.runs[:2]]
    assert [row.position for row in rows] == sorted({row.position for row in rows})
    return (
        [(row.workflow_id, row.entry) for row in rows],
        [[(row.workflow_id, row.entry) for row in some] for some in only],
    )


async def _assert_journal_folds(store: Subject, history: History) -> None:
    for run, found in (await store.load([(run, 0) for run in history.runs])).items():
        workflow, tasks = fold_journal(await read_all(store, run))
        assert workflow == found.workflow
        assert tasks == {task.seq: task for task, _, _ in found.tasks}
