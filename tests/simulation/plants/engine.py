"""Bugs planted on commits, leases, timers and what runs tell each other."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import msgspec

from batuta.core import ending, settle
from batuta.core.commands import update
from batuta.core.execution import Execution
from batuta.model.change import Send, SetTimer
from batuta.model.command import ChildEnded, ExpireLease
from batuta.runtime import definitions, timers
from batuta.runtime.commit import batch, committer, conclude, gather, handout, load
from batuta.store.base import Accepted
from batuta.store.memory import decision, queue, store

Patch = contextlib.AbstractContextManager[Any]


def no_version_check() -> Patch:
    """The store takes a decision made from an older version."""
    return mock.patch.object(store, "judge", return_value=Accepted())


def lease_not_compared() -> Patch:
    """The store ends a task without comparing the lease that the decision saw."""
    return mock.patch.object(decision, "_are_leases_as_seen", return_value=True)


def queue_row_dropped() -> Patch:
    """Some tasks are scheduled and never queued."""
    real = queue.enqueue

    def enqueue(state: Any, workflow_id: str, change: Any) -> None:
        if change.seq % 3:
            real(state, workflow_id, change)

    return mock.patch.object(queue, "enqueue", enqueue)


def claim_without_lease() -> Patch:
    """A claim takes the task off its queue and writes no lease."""
    real = queue._lease

    def lease(state: Any, *given: Any) -> Any:
        made = real(state, *given)
        del state.held[made.task_id]
        return made

    return mock.patch.object(queue, "_lease", lease)


def claim_leaves_the_row() -> Patch:
    """A claimed task stays in its queue."""
    real = queue._lease

    def lease(state: Any, wish: Any, task_id: str, now_ms: int) -> Any:
        ready = state.ready[task_id]
        made = real(state, wish, task_id, now_ms)
        state.ready[task_id] = ready
        state.queues.setdefault(ready.enqueue.queue, []).append(ready.place)
        return made

    return mock.patch.object(queue, "_lease", lease)


def heartbeat_not_stored() -> Patch:
    """A heartbeat is acknowledged and changes nothing."""
    real = queue.touch

    def touch(state: Any, wish: Any, now_ms: int) -> bool:
        return real(state, wish, now_ms) if wish.is_given_back else wish.task_id in state.held

    return mock.patch.object(queue, "touch", touch)


def answer_before_commit() -> Patch:
    """Callers are told once their command is decided."""
    real = committer.Committer._commit

    async def commit(self: Any, flight: Any, written: Any) -> None:
        for unit in flight.units:
            for share in unit.shares:
                for submitted in share.commands:
                    submitted.resolve(share.execution)
        await real(self, flight, written)

    return mock.patch.object(committer.Committer, "_commit", commit)


def task_given_before_commit() -> Patch:
    """A poller gets a task whose lease is not on disk yet."""
    real = committer.Committer._commit

    async def commit(self: Any, flight: Any, written: Any) -> None:
        for grant in flight.grants:
            self._handout.grant(grant, set(flight.units))
        await real(self, flight, written)

    return mock.patch.object(committer.Committer, "_commit", commit)


def timers_in_memory_only() -> Patch:
    """Timers are set in the node that decided, and nowhere else."""
    real = batch.Share.run_changes

    def run_changes(self: Any) -> Any:
        changes = real(self)
        kept = [change for change in changes.changes if not isinstance(change, SetTimer)]
        return msgspec.structs.replace(changes, changes=kept)

    return mock.patch.object(batch.Share, "run_changes", run_changes)


def child_end_in_memory_only() -> Patch:
    """A child's end that cannot be settled in place is dropped."""
    real = batch.Share.run_changes

    def run_changes(self: Any) -> Any:
        changes = real(self)
        kept = [
            change
            for change in changes.changes
            if not (isinstance(change, Send) and isinstance(change.command, ChildEnded))
        ]
        return msgspec.structs.replace(changes, changes=kept)

    return mock.patch.object(batch.Share, "run_changes", run_changes)


def send_settled_and_stored() -> Patch:
    """A Send that was settled in its transaction is written as a row too."""
    real = gather.Gatherer._settle_sends

    def settle_sends(self: Any, share: Any, sends: Any, flight: Any, now_ms: int) -> None:
        real(self, share, sends, flight, now_ms)
        share.other += [send for send in sends if send not in share.other]

    return mock.patch.object(gather.Gatherer, "_settle_sends", settle_sends)


def retry_off_by_one() -> Patch:
    """One attempt more than the policy allows."""
    real = ending.has_retry

    def has_retry(draft: Any, task: Any, node: Any) -> bool:
        return real(draft, msgspec.structs.replace(task, retry_count=task.retry_count - 1), node)

    return mock.patch.object(ending, "has_retry", has_retry)


def retry_without_delay() -> Patch:
    """The next attempt is ready at once."""
    return mock.patch.object(ending, "retry_delay_ms", return_value=0)


def join_early() -> Patch:
    """A JOIN ends one branch too soon."""
    real = settle.check_join

    def check_join(draft: Any, task: Any) -> bool:
        count = draft.execution.unsettled.get(task.seq, 0)
        draft.execution.unsettled[task.seq] = max(count - 1, 0)
        try:
            return real(draft, task)
        finally:
            if task.seq in draft.execution.unsettled:
                draft.execution.unsettled[task.seq] = count

    return mock.patch.object(settle, "check_join", check_join)


def join_never_counts() -> Patch:
    """The end of a branch is not told to its JOIN."""
    return mock.patch.object(Execution, "_settle", return_value=None)


def loop_pass_early() -> Patch:
    """A DO_WHILE goes on before what follows a JOIN inside it has been scheduled."""
    real = settle._check_containers

    def check(draft: Any) -> bool:
        agenda = draft.agenda
        joins = [s for s in draft.checks if draft.execution.tasks[s].task_type == "JOIN"]
        loops = [s for s in draft.checks if s not in joins]
        has_moved = False
        for seqs in (joins, loops):
            draft.checks = dict.fromkeys(seqs)
            draft.agenda = type(agenda)()
            has_moved |= real(draft)
            agenda.extend(draft.agenda)
        draft.agenda = agenda
        return has_moved or bool(agenda)

    return mock.patch.object(settle, "_check_containers", check)


def late_update_reopens() -> Patch:
    """A report for an ended task is taken."""
    real = update.update_task

    def update_task(draft: Any, command: Any) -> None:
        task = draft.execution.task(command.task_id)
        is_late = task is not None and task.status.is_terminal
        if is_late and not draft.workflow.status.is_terminal:
            draft.put(task, output=command.output, status=command.status)
        else:
            real(draft, command)

    return mock.patch.object(update, "update_task", update_task)


def lease_expires_early() -> Patch:
    """A lease ends two seconds early, by a clock that goes fast."""
    real_add, real_decide = timers.Timers._add_lease, gather.decide_on

    def add_lease(self: Any, lease: Any) -> None:
        real_add(self, msgspec.structs.replace(lease, expires_at_ms=lease.expires_at_ms - 2_000))

    def decide_on(share: Any, submitted: Any, *, now_ms: int, **given: Any) -> Any:
        is_expiry = isinstance(submitted.command, ExpireLease)
        return real_decide(share, submitted, now_ms=now_ms + 2_000 * is_expiry, **given)

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(timers.Timers, "_add_lease", add_lease))
    stack.enter_context(mock.patch.object(gather, "decide_on", decide_on))
    stack.enter_context(mock.patch.object(decision, "_are_leases_as_seen", return_value=True))
    return stack


def stale_not_decided_again() -> Patch:
    """A refused decision is answered as if it had been accepted."""
    real = conclude.Concluder.conclude
    return mock.patch.object(conclude.Concluder, "decide_again", real)


def hold_released_early() -> Patch:
    """A run's next command is decided while its batch is at the store."""
    real = committer.Committer._commit
    release = gather.Holds.release

    async def commit(self: Any, flight: Any, written: Any) -> None:
        for workflow_id in flight.shares:
            self._release(workflow_id)
        await real(self, flight, written)

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(committer.Committer, "_commit", commit))
    stack.enter_context(
        mock.patch.object(
            gather.Holds,
            "release",
            lambda self, run: release(self, run) if run in self else [],
        )
    )
    return stack


def give_back_lost() -> Patch:
    """A task whose poller has gone stays leased to nobody."""
    return mock.patch.object(handout.Handout, "give_back_leases", return_value=[])


@contextlib.contextmanager
def give_back_repeated() -> Iterator[None]:
    """A give-back of unknown outcome is asked for again, and done whoever has the task by now."""
    real = queue.touch

    async def again(self: Any, lease: Any) -> None:
        await asyncio.sleep(0.2)
        self.give_back_leases([lease])

    def touch(state: Any, wish: Any, now_ms: int) -> bool:
        held = state.held.get(wish.task_id)
        polled_at_ms = held.lease.polled_at_ms if held else 0
        return real(state, msgspec.structs.replace(wish, polled_at_ms=polled_at_ms), now_ms)

    with (
        mock.patch.object(handout.Handout, "_give_back_again", again),
        mock.patch.object(queue, "touch", touch),
    ):
        yield


def send_believed_settled() -> Patch:
    """A Send that changes nothing in memory is taken for settled, though others write."""
    real = gather.Gatherer._settle_sends

    def settle_sends(self: Any, *given: Any) -> None:
        self._is_shared = False
        real(self, *given)

    return mock.patch.object(gather.Gatherer, "_settle_sends", settle_sends)


def memory_is_believed() -> Patch:
    """What changes nothing is answered from memory, though others write to the store."""
    return mock.patch.object(conclude.Concluder, "_is_share_sure", return_value=True)


def pins_kept() -> Patch:
    """A node goes on starting the definition that it looked up first."""
    return mock.patch.object(definitions.Definitions, "_forget_pins", return_value=None)


def journal_forgets_tasks() -> Patch:
    """The journal keeps the run's header only."""
    real = batch.entry_document

    def entry_document(changes: Any) -> bytes:
        return real([c for c in changes if type(c).__name__ != "PutTask"])

    return mock.patch.object(batch, "entry_document", entry_document)


def timers_never_read() -> Patch:
    """What memory has lost is never read again from the tables."""

    async def read(_self: Any) -> bool:
        return False

    return mock.patch.object(timers.Timers, "read", read)


def late_try_decided_again() -> Patch:
    """A command whose earlier try was stored late is decided once more."""

    async def answer(self: Any, workflow_id: str, _execution: Any) -> None:
        for submitted in self._holds[workflow_id].waiting:
            submitted.versions_unknown = ()

    return mock.patch.object(load.Loader, "_answer_what_is_stored", answer)


def earlier_try_believed() -> Patch:
    """What an earlier try has stored is taken for what the last one decided."""
    return mock.patch.object(conclude.Concluder, "find_again", conclude.Concluder.conclude)


ENGINE_PLANTS = (
    no_version_check,
    lease_not_compared,
    queue_row_dropped,
    claim_without_lease,
    claim_leaves_the_row,
    heartbeat_not_stored,
    answer_before_commit,
    task_given_before_commit,
    timers_in_memory_only,
    child_end_in_memory_only,
    send_settled_and_stored,
    retry_off_by_one,
    retry_without_delay,
    join_early,
    join_never_counts,
    loop_pass_early,
    late_update_reopens,
    lease_expires_early,
    stale_not_decided_again,
    hold_released_early,
    give_back_lost,
    give_back_repeated,
    send_believed_settled,
    memory_is_believed,
    pins_kept,
    journal_forgets_tasks,
    timers_never_read,
    late_try_decided_again,
    earlier_try_believed,
)
