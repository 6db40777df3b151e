"""Judge a decision against what is stored, then write it.

``judge`` looks at everything a decision can be refused for and writes nothing; ``write`` is
called for accepted decisions only. What ``write`` asserts are promises of its callers.
"""

from collections.abc import Iterable

import msgspec

from batuta.model.change import (
    AddLog,
    Change,
    ClearTimer,
    DropSend,
    Enqueue,
    Publish,
    PutLease,
    PutTask,
    PutWorkflow,
    Release,
    RemoveWorkflow,
    Reserve,
    RetireTask,
    Send,
    SendInPlace,
    SetTimer,
)
from batuta.model.command import encode_command
from batuta.model.payload import Payload
from batuta.store.base import (
    Accepted,
    Batch,
    Decision,
    JournalRow,
    LogLine,
    PendingSend,
    RunChanges,
    Stale,
    Taken,
    Verdict,
)
from batuta.store.failing import SEND
from batuta.store.memory import queue
from batuta.store.memory.due import forget
from batuta.store.memory.rows import Reservation, Run, State, TaskRow, is_id


def assert_well_formed(batch: Batch) -> None:
    """Fail on a batch that no committer may build, before anything of it is written."""
    ids = [changes.workflow_id for decision in batch.decisions for changes in decision.runs]
    assert len(ids) == len(set(ids)), f"a run is at most once in a batch: {ids}"
    for decision in batch.decisions:
        for changes in decision.runs:
            _assert_run_well_formed(changes)


def judge(state: State, decision: Decision, now_ms: int) -> Verdict:
    """Return what becomes of the decision. Writes nothing."""
    for changes in decision.runs:
        run = state.runs.get(changes.workflow_id)
        if changes.version_from != (run.workflow.version if run else 0):
            return Stale()
    every_change = [change for changes in decision.runs for change in changes.changes]
    if not _are_leases_as_seen(state, every_change):
        return Stale()
    drops = [change.send_id for change in every_change if isinstance(change, DropSend)]
    if len(drops) != len(set(drops)) or not state.sends.keys() >= set(drops):
        return Stale()
    if _overtakes(state, decision):
        return Stale()
    for change in every_change:
        if isinstance(change, Reserve):
            holder = state.reservations.get((change.scope, change.key))
            if holder and holder.until_ms > now_ms and holder.workflow_id != change.workflow_id:
                return Taken(holder.workflow_id)
    return Accepted()


def write(state: State, changes: RunChanges) -> None:
    """Write one run of an accepted decision: its changes in their order, then its journal."""
    if changes.version_from:
        run = state.runs[changes.workflow_id]
    else:
        first = next(put for put in changes.changes if isinstance(put, PutWorkflow))
        run = state.runs[changes.workflow_id] = Run(first.workflow)
    for change in changes.changes:
        _write_change(state, run, changes, change)
    run.workflow = msgspec.structs.replace(
        run.workflow,
        version=changes.version_to,
        # The journal does not repeat it: the time of a run's last command is its update time.
        updated_at_ms=changes.entries[-1].at_ms,
    )
    state.rows_written += 1
    for entry in changes.entries:
        state.position_last += 1
        row = JournalRow(position=state.position_last, workflow_id=changes.workflow_id, entry=entry)
        state.journal.append(row)
        state.requests[changes.workflow_id, entry.version] = entry.request_id
        state.rows_written += 1


def _assert_run_well_formed(changes: RunChanges) -> None:
    assert is_id(changes.workflow_id), f"an id is a UUID: {changes.workflow_id!r}"
    assert changes.entries, f"run {changes.workflow_id!r}: only a command changes a run"
    assert changes.version_to == changes.version_from + len(changes.entries), (
        f"run {changes.workflow_id!r}: each command raises the version by one"
    )
    assert [entry.version for entry in changes.entries] == list(
        range(changes.version_from + 1, changes.version_to + 1)
    ), f"run {changes.workflow_id!r}: exactly one journal entry for each version"
    workflows = [put for put in changes.changes if isinstance(put, PutWorkflow)]
    assert len(workflows) <= 1, f"run {changes.workflow_id!r}: one Put for each record at most"
    assert workflows or changes.version_from, f"run {changes.workflow_id!r} begins with its header"
    for put in workflows:
        assert put.workflow.workflow_id == changes.workflow_id, "a run puts its own header"
    seqs = [put.task.seq for put in changes.changes if isinstance(put, PutTask)]
    assert len(seqs) == len(set(seqs)), f"run {changes.workflow_id!r}: a task is put once: {seqs}"
    for index, change in enumerate(changes.changes, start=1):
        if isinstance(change, RemoveWorkflow):
            assert index == len(changes.changes), "nothing is written after a removal"
        if isinstance(change, Release):
            assert change.poll_count or change.expired_at_ms is None, "what expires is a lease"


def _overtakes(state: State, decision: Decision) -> bool:
    """Say whether a Send settled in place would come before a stored one of the same two runs."""
    stored = {(state.senders[send_id], send.workflow_id) for send_id, send in state.sends.items()}
    return any(
        isinstance(change, SendInPlace) and (run.workflow_id, change.workflow_id) in stored
        for run in decision.runs
        for change in run.changes
    )


def _are_leases_as_seen(state: State, changes: Iterable[Change]) -> bool:
    """Compare each task's lease with what its first Release saw; later ones see the decision."""
    settled: set[str] = set()
    for change in changes:
        if isinstance(change, PutLease):
            settled.add(change.lease.task_id)
        if not isinstance(change, Release) or change.task_id in settled:
            continue
        settled.add(change.task_id)
        held = state.held.get(change.task_id)
        if change.poll_count != (held.lease.poll_count if held else 0):
            return False
        limit_ms = change.expired_at_ms
        if held and limit_ms is not None and held.lease.expires_at_ms > limit_ms:
            return False
    return True


def _write_change(state: State, run: Run, changes: RunChanges, change: Change) -> None:
    workflow_id = changes.workflow_id
    match change:
        case PutWorkflow():
            run.workflow = change.workflow
            parts = {
                "input": change.input,
                "output": change.output,
                "variables": change.variables,
            }
            _put_payloads(run, 0, parts)
        case PutTask():
            _put_task(state, run, changes, change)
        case RetireTask():
            row = run.tasks.get(change.seq)
            if row is not None:  # else it was made and dropped by one decision
                run.tasks[change.seq] = TaskRow(row.task, changes.version_to, is_retired=True)
                state.rows_written += 1
        case Enqueue():
            _assert_task(state, workflow_id, change.task_id, change.seq)
            queue.enqueue(state, workflow_id, change)
        case PutLease():
            assert change.lease.workflow_id == workflow_id, "a lease names the run of its task"
            seq = _assert_task(state, workflow_id, change.lease.task_id)
            queue.put_lease(state, change, seq)
        case Release():
            _assert_task(state, workflow_id, change.task_id)
            queue.release(state, change)
        case RemoveWorkflow():
            assert change.workflow_id == workflow_id, "a decision removes its own run"
            _remove(state, workflow_id)
        case _:
            _write_small(state, workflow_id, change)


def _write_small(
    state: State,
    workflow_id: str,
    change: SetTimer | ClearTimer | Send | SendInPlace | DropSend | Publish | AddLog | Reserve,
) -> None:
    if isinstance(change, SendInPlace | Publish):
        return  # judged, or in the entry: no row of its own
    state.rows_written += 1
    match change:
        case SetTimer():
            if change.task_id:
                _assert_task(state, workflow_id, change.task_id)
            state.timers[workflow_id, change.task_id, change.kind] = change.due_at_ms
            forget(state, workflow_id, change.kind, change.task_id)
        case ClearTimer():
            state.timers.pop((workflow_id, change.task_id, change.kind), None)
            forget(state, workflow_id, change.kind, change.task_id)
        case Send():
            state.send_id_last += 1
            state.senders[state.send_id_last] = workflow_id
            state.sends[state.send_id_last] = PendingSend(
                send_id=state.send_id_last,
                workflow_id=change.command.workflow_id,
                document=encode_command(change.command),
            )
        case DropSend():
            sent = state.sends.pop(change.send_id)
            forget(state, workflow_id, SEND, str(change.send_id))
            assert sent.workflow_id == workflow_id, "a Send is consumed by the run it is for"
        case AddLog():
            _assert_task(state, workflow_id, change.task_id)
            line = LogLine(
                task_id=change.task_id, created_at_ms=change.created_at_ms, line=change.line
            )
            state.logs.setdefault(change.task_id, []).append(line)
        case Reserve():
            state.reservations[change.scope, change.key] = Reservation(
                change.workflow_id, change.until_ms
            )


def _put_task(state: State, run: Run, changes: RunChanges, put: PutTask) -> None:
    task = put.task
    row = run.tasks.get(task.seq)
    if row is None:
        assert is_id(task.task_id), f"an id is a UUID: {task.task_id!r}"
        assert task.task_id not in state.seqs, f"task id {task.task_id!r} is used once"
        assert task.seq >= 1, "seqs count from 1: 0 is the run itself"
        state.seqs[task.task_id] = (changes.workflow_id, task.seq)
    else:
        assert row.task.task_id == task.task_id, f"seq {task.seq} stays the same task"
        assert not row.is_retired, f"a retired task is not written: seq {task.seq}"
    run.tasks[task.seq] = TaskRow(task, changes.version_to)
    _put_payloads(run, task.seq, {"input": put.input, "output": put.output})
    state.rows_written += 1


def _put_payloads(run: Run, seq: int, parts: dict[str, Payload | None]) -> None:
    for part, payload in parts.items():
        if payload is not None:
            assert payload.raw is not None, "a payload is loaded before it is written"
            run.payloads[seq, part] = payload.raw


def _assert_task(state: State, workflow_id: str, task_id: str, seq: int = 0) -> int:
    """Return the seq of a task, which must be of this run and, if given, of this seq."""
    owner, stored_seq = state.seqs.get(task_id, ("", 0))
    assert owner == workflow_id, f"run {workflow_id!r} has no task {task_id!r}"
    assert seq in (0, stored_seq), f"task {task_id!r} is seq {stored_seq}, not {seq}"
    return stored_seq


def _remove(state: State, workflow_id: str) -> None:
    """Delete all rows of the run. The journal is append-only: it keeps what happened."""
    for row in state.runs.pop(workflow_id).tasks.values():
        task_id = row.task.task_id
        queue.release(state, Release(task_id=task_id))
        state.logs.pop(task_id, None)
        del state.seqs[task_id]
        state.rows_written += 1
    state.timers = {key: due for key, due in state.timers.items() if key[0] != workflow_id}
    state.sends = {
        send_id: send for send_id, send in state.sends.items() if send.workflow_id != workflow_id
    }
    state.reservations = {
        key: held for key, held in state.reservations.items() if held.workflow_id != workflow_id
    }
