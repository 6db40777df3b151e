"""How the changes of a batch become rows: the last change of a record wins."""

import pytest

from batuta.model.change import ClearTimer, PutLease, Release, SetTimer
from batuta.model.command import TimerKind
from batuta.model.payload import Payload
from batuta.store.merge import PAYLOAD_INLINE_BYTES_MAX, merge
from batuta.testing.builders import (
    NOW_MS,
    batch,
    enqueue,
    new_id,
    put_lease,
    put_task,
    put_workflow,
    step,
    task,
    workflow,
)

RUN = new_id()


def test_a_task_offered_and_released_in_one_batch_is_not_queued() -> None:
    first = task(1)

    tables = merge(batch(step(RUN, 1, enqueue(first), Release(task_id=first.task_id))))

    assert tables.queued == {}
    assert tables.releases == [(0, RUN, first.task_id, 0, None)]


def test_only_the_first_release_is_compared_with_the_stored_lease() -> None:
    first = task(1)
    release = Release(task_id=first.task_id, poll_count=3, expired_at_ms=NOW_MS)
    again = Release(task_id=first.task_id)

    tables = merge(batch(step(RUN, 1, release, enqueue(first), again, enqueue(first))))

    assert [row[3] for row in tables.releases] == [3, None]
    assert list(tables.queued) == [first.task_id]


def test_a_lease_given_in_the_batch_takes_the_place_of_the_offer() -> None:
    first = task(1)
    given = put_lease(RUN, first)
    assert isinstance(given, PutLease)

    held = merge(batch(step(RUN, 1, enqueue(first), given)))
    ended = merge(batch(step(RUN, 1, given, Release(task_id=first.task_id, poll_count=1))))

    assert (held.queued, held.leases) == ({}, {first.task_id: given})
    assert (ended.leases, [row[3] for row in ended.releases]) == ({}, [None])


def test_a_timer_set_and_cleared_is_cleared() -> None:
    wait, total = TimerKind.WAIT, TimerKind.TOTAL_TIMEOUT
    changes = [
        SetTimer(task_id="t", kind=wait, due_at_ms=1),
        ClearTimer(task_id="t", kind=wait),
        ClearTimer(task_id="t", kind=total),
        SetTimer(task_id="t", kind=total, due_at_ms=2),
    ]

    tables = merge(batch(step(RUN, 1, *changes)))

    assert tables.timers == {(RUN, "t", wait): None, (RUN, "t", total): 2}


def test_a_run_without_a_header_only_gets_its_version_and_time() -> None:
    header = workflow()

    tables = merge(
        batch(step(RUN, 4, at_ms=NOW_MS + 7), step(header.workflow_id, 1, put_workflow(header)))
    )

    assert tables.bumps == [(RUN, 5, NOW_MS + 7)]
    assert [row[0] for row in tables.workflows] == [header]


def test_bytes_stand_in_the_blob_where_the_rows_say() -> None:
    small, large = Payload(b' {"a": 1} '), Payload(b'"' + b"x" * PAYLOAD_INLINE_BYTES_MAX + b'"')
    changes = step(RUN, 1, put_task(task(1), input=small, output=large))

    tables = merge(batch(changes))

    blob = b"".join(tables.blobs)
    _, _, _, at, size, large_at, large_size = tables.tasks[0]
    assert blob[at : at + size] == small.raw
    assert blob[large_at : large_at + large_size] == large.raw
    assert tables.larges == [(RUN, 1, "output", large_at, large_size)]
    *_, entry_at, entry_size = tables.entries[0]
    assert blob[entry_at : entry_at + entry_size] == changes.entries[0].changed


def test_refused_decisions_leave_no_rows() -> None:
    runs = [step(new_id(), 1, put_task(task(1))) for _ in range(3)]

    tables = merge(batch(*runs), {1})

    assert [row[0] for row in tables.versions] == [0, 2]
    assert len(tables.tasks) == len(tables.entries) == 2


def test_a_run_twice_in_a_batch_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="at most once"):
        merge(batch(step(RUN, 1), step(RUN, 2)))
