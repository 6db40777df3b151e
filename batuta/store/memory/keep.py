"""Finding and removing what is old, in memory. See ``store.keep`` for the promises."""

from collections.abc import Sequence

from batuta.model.payload import Payload
from batuta.store.base import Entry, JournalRow
from batuta.store.keep import Ended
from batuta.store.memory.rows import State, TaskRow

REMOVE = "remove"  # the kind of a removal's journal entry


def ended_names(state: State) -> list[str]:
    """Return the names of workflows that have ended runs."""
    runs = (run.workflow for run in state.runs.values())
    return sorted({workflow.name for workflow in runs if workflow.ended_at_ms > 0})


def find_ended(
    state: State,
    name: str,
    statuses: Sequence[str],
    *,
    before_ms: int,
    keep_count: int,
    limit: int,
) -> list[Ended]:
    """Return runs that are to go; see ``Keep.find_ended``."""
    ended = sorted(
        (workflow.ended_at_ms, workflow_id)
        for workflow_id, run in state.runs.items()
        if (workflow := run.workflow).name == name
        and workflow.status in statuses
        and workflow.ended_at_ms > 0
    )
    cut = (before_ms, "")
    if 0 < keep_count <= len(ended):
        cut = max(cut, ended[-keep_count])
    gone = [key for key in ended if key < cut and not _is_held(state, key[1])]
    return [
        Ended(workflow_id, state.runs[workflow_id].workflow.version)
        for _, workflow_id in gone[:limit]
    ]


def purge(state: State, runs: Sequence[Ended], *, now_ms: int, rows_max: int) -> list[str]:
    """Remove runs that are as they were found; see ``Keep.purge``."""
    purged = []
    for ended in runs:
        run = state.runs.get(ended.workflow_id)
        if run is None or run.workflow.version != ended.version:
            continue
        if not run.workflow.status.is_terminal or _is_held(state, ended.workflow_id):
            continue
        del state.runs[ended.workflow_id]
        state.left_over[ended.workflow_id] = list(run.tasks.values())
        for reserved, holder in list(state.reservations.items()):
            if holder.workflow_id == ended.workflow_id:
                del state.reservations[reserved]
        _note_removal(state, ended, now_ms)
        purged.append(ended.workflow_id)
    for workflow_id in purged:
        rows_max -= _forget_tasks(state, state.left_over[workflow_id], rows_max)
        if not state.left_over[workflow_id]:
            del state.left_over[workflow_id]
    return purged


def purge_retired(state: State, *, before_ms: int, rows_max: int) -> int:
    """Delete retired tasks; see ``Keep.purge_retired``."""
    at_ms = {(row.workflow_id, row.entry.version): row.entry.at_ms for row in state.journal}
    deleted = 0
    for workflow_id, run in state.runs.items():
        for seq, row in list(run.tasks.items()):
            is_old = row.is_retired and at_ms[workflow_id, row.version] < before_ms
            if not is_old or deleted >= rows_max:
                continue
            del run.tasks[seq]
            for part in ("input", "output"):
                run.payloads.pop((seq, part), None)
            deleted += _forget_tasks(state, [row], 1)
    return deleted


def purge_removed(state: State, *, before_ms: int, position_max: int | None, rows_max: int) -> int:
    """Delete what is left of removed runs; see ``Keep.purge_removed``."""
    last = state.journal[-1].position if state.journal else 0
    position_max = last - 1 if position_max is None else min(position_max, last - 1)
    removals = {
        row.workflow_id: row.position
        for row in state.journal
        if row.entry.kind == REMOVE
        and row.entry.at_ms < before_ms
        and row.position <= position_max
        and row.workflow_id not in state.runs
    }
    left = rows_max
    for workflow_id in removals:
        left -= _forget_tasks(state, state.left_over.get(workflow_id, []), left)
        if not state.left_over.get(workflow_id):
            state.left_over.pop(workflow_id, None)
    whole = {workflow_id for workflow_id in removals if workflow_id not in state.left_over}
    rows = [row for row in state.journal if row.workflow_id in whole and row.position < last]
    # The removal itself goes last: while it is there, the rest is found again.
    rows.sort(key=lambda row: (row.entry.kind == REMOVE, row.position))
    gone = {row.position for row in rows[:left]}
    for row in rows[:left]:
        state.requests.pop((row.workflow_id, row.entry.version), None)
    state.journal[:] = [row for row in state.journal if row.position not in gone]
    return rows_max - left + len(gone)


def find_payload(state: State, workflow_id: str, seq: int, part: str) -> Payload | None:
    """Return a payload with its bytes, or None."""
    run = state.runs.get(workflow_id)
    raw = run.payloads.get((seq, part)) if run else None
    return None if raw is None else Payload(raw)


def _is_held(state: State, workflow_id: str) -> bool:
    """Tell whether an ancestor is open, or somebody wants to tell the run something."""
    if any(send.workflow_id == workflow_id for send in state.sends.values()):
        return True
    run = state.runs.get(workflow_id)
    while run is not None and run.workflow.parent_id is not None:
        run = state.runs.get(run.workflow.parent_id)
        if run is not None and not run.workflow.status.is_terminal:
            return True
    return False


def _note_removal(state: State, ended: Ended, now_ms: int) -> None:
    entry = Entry(
        version=ended.version + 1, at_ms=now_ms, kind=REMOVE, actor="retention", changed=b"{}"
    )
    row = JournalRow(position=state.position_last + 1, workflow_id=ended.workflow_id, entry=entry)
    state.position_last = row.position
    state.journal.append(row)
    state.requests[ended.workflow_id, entry.version] = ""
    state.committed_at_ms = max(state.committed_at_ms, now_ms)


def _forget_tasks(state: State, rows: list[TaskRow], limit: int) -> int:
    """Forget the first tasks, which leave ``rows``; return how many."""
    gone, rows[:] = rows[: max(limit, 0)], rows[max(limit, 0) :]
    for row in gone:
        state.logs.pop(row.task.task_id, None)
        del state.seqs[row.task.task_id]
        state.rows_written += 1
    return len(gone)
