"""What is due, and what failed when it was: kept beside the rows, forgotten with them."""

from msgspec.structs import replace

from batuta.model.command import TimerKind
from batuta.store.base import Due, DueTimer, PendingSend
from batuta.store.failing import ERROR_CHARS_MAX, LEASE, SEND, Failing
from batuta.store.memory.rows import State

FOREVER_MS = 2**63  # when a quarantined row is due again

Key = tuple[str, str, str]  # run, kind, task id (of a Send its own id)


def due(state: State, until_ms: int, limit: int) -> Due:
    """Return what wants a command; see ``Store.due``."""
    failed = failing_rows(state)
    rows = {key_of(row) for row in failed}
    again = [row for row in failed if (row.retry_at_ms or FOREVER_MS) <= until_ms]
    timers = sorted(
        (due_at_ms, run, task_id, kind)
        for (run, task_id, kind), due_at_ms in state.timers.items()
        if due_at_ms <= until_ms and (run, kind, task_id) not in rows
    )
    held = [held.lease for held in state.held.values() if held.lease.expires_at_ms <= until_ms]
    leases = [one for one in held if (one.workflow_id, LEASE, one.task_id) not in rows]
    leases.sort(key=lambda lease: (lease.expires_at_ms, lease.task_id))
    return Due(
        timers=[
            DueTimer(workflow_id=workflow_id, task_id=task_id, kind=kind, due_at_ms=due_at_ms)
            for due_at_ms, workflow_id, task_id, kind in timers[:limit]
        ],
        leases=leases[:limit],
        sends=due_sends(state, again)[:limit],
        failing=again[:limit],
    )


def key_of(failing: Failing) -> Key:
    """Return which row has failed; its mark tells whether it still is that one."""
    name = str(failing.mark) if failing.kind == SEND else failing.task_id
    return (failing.workflow_id, failing.kind, name)


def note_failure(state: State, failing: Failing) -> bool:
    """Write a failure into its row; see ``Quarantine.note_failure``."""
    before = state.failing.get(key_of(failing))
    if before is not None and not _is_there(state, before):
        before = None
    counted = before.attempts if before else 0
    if not _is_there(state, failing) or counted != failing.attempts - 1:
        return False
    error = failing.error[:ERROR_CHARS_MAX]
    state.failing[key_of(failing)] = replace(failing, error=error)
    state.rows_written += 1
    return True


def failing_rows(state: State, workflow_id: str | None = None) -> list[Failing]:
    """Return the rows that have failed; see ``Quarantine.failing``."""
    found = [
        failing
        for failing in state.failing.values()
        if _is_there(state, failing) and workflow_id in (None, failing.workflow_id)
    ]
    return sorted(found, key=lambda failing: failing.retry_at_ms or 0)


def rearm(state: State, workflow_id: str | None) -> int:
    """Let quarantined rows be due again; see ``Quarantine.rearm``."""
    rows = failing_rows(state, workflow_id)
    quarantined = [failing for failing in rows if failing.retry_at_ms is None]
    for failing in quarantined:
        del state.failing[key_of(failing)]
        state.rows_written += 1
    return len(quarantined)


def forget(state: State, workflow_id: str, kind: str, name: str) -> None:
    """A row is written anew, or gone: it has not failed."""
    state.failing.pop((workflow_id, kind, name), None)


def _is_there(state: State, failing: Failing) -> bool:
    """Say whether the row that failed is still there, and no other in its place."""
    if failing.kind == SEND:
        return failing.mark in state.sends
    if failing.kind == LEASE:
        held = state.held.get(failing.task_id)
        return held is not None and held.lease.poll_count == failing.mark
    timer = (failing.workflow_id, failing.task_id, TimerKind(failing.kind))
    return state.timers.get(timer) == failing.mark


def due_sends(state: State, due_again: list[Failing]) -> list[PendingSend]:
    """Return each target's oldest Send that has not failed, and those that are due again.

    Behind one that failed nothing of its sender for its target is among them.
    """
    failed = {failing.mark: failing for failing in failing_rows(state) if failing.kind == SEND}
    again = {failing.mark for failing in due_again if failing.kind == SEND}
    stuck: set[tuple[str, str]] = set()
    served: set[str] = set()
    found = []
    for send_id, send in state.sends.items():
        pair = (state.senders[send_id], send.workflow_id)
        is_behind = pair in stuck
        if send_id in failed:
            stuck.add(pair)
            is_due = send_id in again
        else:
            is_due = send.workflow_id not in served
        if is_due and not is_behind:
            found.append(send)
            if send_id not in failed:
                served.add(send.workflow_id)
    return found
