"""What is due: timers, ended leases, stored Sends.

Tables are the truth. A node holds in memory only what is due within HORIZON_MS and was committed
here or read at the last pass; a pass a second reads the tables again, so that losing every hint
costs one second. A timer never fires before store time reaches it. A command that fails is noted
in its row, tried again with back-off and quarantined after FAILURES_MAX (design 008): one poison
row delays nobody else, and every node knows of it.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec.structs import replace

from batuta.model.change import ClearTimer, Send
from batuta.model.command import (
    ChildEnded,
    Command,
    ExpireLease,
    FireTimer,
    RetryWorkflow,
    StartWorkflow,
    TimerKind,
    decode_command,
)
from batuta.model.error import BatutaError, NotFoundError, StoreError
from batuta.model.execution import Lease, TaskStatus
from batuta.model.payload import EMPTY
from batuta.runtime.clock import pause
from batuta.runtime.commit.batch import Share
from batuta.runtime.commit.committer import Committer
from batuta.runtime.quarantine.backoff import BACK_OFF_MS, failed_again
from batuta.store.base import DueTimer, PendingSend, Store
from batuta.store.failing import LEASE, SEND, Failing, Quarantine

PASS_S = 1.0  # between two readings of the tables
HORIZON_MS = 5_000  # how far ahead memory looks; five passes, so that none is missed
DUE_MAX = 2_000  # rows of each kind read in one pass
FULL_PASS_S = 0.05  # after a pass that hit DUE_MAX
_log = logging.getLogger(__name__)

_Key = tuple[str, str, str]  # workflow id, task id or send id, kind


class DueStore(Store, Quarantine, Protocol):
    """What is due, and where its failures are noted."""


class _Job(msgspec.Struct, frozen=True):
    """A command that is to be submitted, and the row it comes from."""

    command: Command
    row: Failing


class _Entry(msgspec.Struct, order=True):
    """A place in the heap; entries whose key has moved on are skipped."""

    due_at_ms: int
    key: _Key


class Timers:
    """Submits commands when they are due. Run ``run`` as a supervised loop."""

    def __init__(self, store: DueStore, committer: Committer, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._committer = committer
        self.now_ms = now_ms
        self._heap: list[_Entry] = []
        self._due: dict[_Key, int] = {}
        self._jobs: dict[_Key, _Job] = {}
        # What failed for a reason of others, a store in trouble say, and waits out a back-off
        # that no row has.
        self._in_trouble: dict[_Key, Failing] = {}
        self._running: set[_Key] = set()
        # Set anew by what its own firing committed (CONTINUE), while that is still running.
        self._following: dict[_Key, tuple[int, _Job]] = {}
        self._wake_handle: asyncio.TimerHandle | None = None
        self._is_hinted = asyncio.Event()
        self._stored_since: set[str] = set()  # targets of Sends stored since the last pass began
        self._in_work: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    async def run(self, beat: Callable[[], None]) -> None:
        """Read what is due, a pass a second and whenever a Send was stored."""
        while True:
            self._is_hinted.clear()
            has_more = await self.read()
            self._committer.queues.recheck()
            self._committer.wake()
            beat()
            if has_more:
                await pause(FULL_PASS_S)
            else:
                await self._rest()

    def stop(self) -> None:
        """Fire nothing any more; the next node finds what is due."""
        self._is_stopped = True
        if self._wake_handle is not None:
            self._wake_handle.cancel()
            self._wake_handle = None

    async def read(self) -> bool:
        """Take what the tables have within the horizon into memory; True when there is more."""
        before = set(self._committer.stored_targets)
        self._stored_since.clear()
        due = await self._store.due(self.now_ms() + HORIZON_MS, DUE_MAX)
        for timer in due.timers:
            await self._add_timer(timer)
        for lease in due.leases:
            self._add_lease(lease)
        failed = {row.mark: row for row in due.failing if row.kind == SEND}
        for row in due.failing:
            self._add_failed(row)
        seen = {send.workflow_id for send in due.sends}
        for send in due.sends:
            # In order for each pair of runs: the next one comes when this one is consumed.
            await self._add_send(send, failed.get(send.send_id))
        self._committer.stored_targets.update(seen)
        if len(due.sends) < DUE_MAX:
            self._committer.know_targets(are_known=True)
            gone = before - seen - self._stored_since
            self._committer.stored_targets.difference_update(gone)
            self._forget_consumed({str(send.send_id) for send in due.sends})
        sizes = (len(due.timers), len(due.leases), len(due.sends), len(due.failing))
        return max(sizes) >= DUE_MAX

    def hint(self) -> None:
        """Have the tables read soon."""
        self._is_hinted.set()

    def _forget_consumed(self, send_ids: set[str]) -> None:
        """Try no more to deliver Sends that another node has delivered."""
        for key in [key for key in self._in_trouble if key[2] == SEND and key[1] not in send_ids]:
            self._forget(key)

    def on_commit(self, share: Share) -> None:
        """Take the timers and leases of a commit that are due soon."""
        until_ms = self.now_ms() + HORIZON_MS
        workflow_id = share.execution.workflow.workflow_id
        for change in share.timers.values():
            key = (workflow_id, change.task_id, change.kind)
            if isinstance(change, ClearTimer):
                self._forget(key)
            elif change.due_at_ms <= until_ms:
                job = _timer_job(workflow_id, change.task_id, change.kind, change.due_at_ms)
                if key in self._running:
                    self._following[key] = (change.due_at_ms, job)
                self._add(key, change.due_at_ms, job)
            else:
                self._forget(key)
        for put in share.leased:
            if put.lease.expires_at_ms <= until_ms:
                self._add_lease(put.lease)
        if share.unit.has_stored_sends:
            # Named again: a pass beside the commit has not seen them, and took them for consumed.
            sends = (change for change in share.other if isinstance(change, Send))
            self._stored_since.update(send.command.workflow_id for send in sends)
            self._committer.stored_targets.update(self._stored_since)
            self._is_hinted.set()

    def on_lease(self, lease: Lease) -> None:
        """Take a lease that a poll or heartbeat made."""
        if lease.expires_at_ms <= self.now_ms() + HORIZON_MS:
            self._add_lease(lease)

    def in_trouble(self, workflow_id: str) -> list[Failing]:
        """Return a run's rows that this node could not submit for a reason that is not theirs."""
        return [row for key, row in self._in_trouble.items() if key[0] == workflow_id]

    async def _add_timer(self, timer: DueTimer) -> None:
        run, task_id, due_at_ms = timer.workflow_id, timer.task_id, timer.due_at_ms
        try:
            kind = TimerKind(timer.kind)
        except ValueError as error:
            row = _row(run, timer.kind, task_id, mark=due_at_ms)
            await self._note(failed_again(row, error, self.now_ms(), is_hopeless=True))
            return
        self._add((run, task_id, kind), due_at_ms, _timer_job(run, task_id, kind, due_at_ms))

    def _add_lease(self, lease: Lease) -> None:
        job = _lease_job(lease.workflow_id, lease.task_id, lease.poll_count)
        self._add((lease.workflow_id, lease.task_id, LEASE), lease.expires_at_ms, job)

    def _add_failed(self, row: Failing) -> None:
        """Take a timer or a lease whose back-off ends soon."""
        if row.kind == SEND or row.retry_at_ms is None:
            return
        if row.kind == LEASE:
            job = _lease_job(row.workflow_id, row.task_id, row.mark)
        else:
            job = _timer_job(row.workflow_id, row.task_id, TimerKind(row.kind), row.mark)
        key = (row.workflow_id, row.task_id, row.kind)
        self._add(key, row.retry_at_ms, _Job(job.command, row))

    async def _add_send(self, send: PendingSend, row: Failing | None) -> None:
        row = row or _row(send.workflow_id, SEND, mark=send.send_id)
        try:
            command = decode_command(send.document)
        except msgspec.MsgspecError as error:
            await self._note(failed_again(row, error, self.now_ms(), is_hopeless=True))
            return
        key = (send.workflow_id, str(send.send_id), SEND)
        self._add(key, row.retry_at_ms or 0, _Job(command, row))

    def _add(self, key: _Key, due_at_ms: int, job: _Job) -> None:
        if key in self._running:
            return
        if key in self._in_trouble and key in self._due:
            return  # its back-off stands
        if self._due.get(key) == due_at_ms:
            return
        self._push(key, due_at_ms, job)

    def _push(self, key: _Key, due_at_ms: int, job: _Job) -> None:
        self._due[key] = due_at_ms
        self._jobs[key] = job
        heapq.heappush(self._heap, _Entry(due_at_ms, key))
        if self._heap[0].key == key:
            self._set_alarm()

    def _forget(self, key: _Key) -> None:
        self._due.pop(key, None)
        self._jobs.pop(key, None)
        self._in_trouble.pop(key, None)
        self._following.pop(key, None)

    def _set_alarm(self) -> None:
        if self._wake_handle is not None:
            self._wake_handle.cancel()
            self._wake_handle = None
        if self._heap and not self._is_stopped:
            delay_ms = max(self._heap[0].due_at_ms - self.now_ms(), 0)
            loop = asyncio.get_running_loop()
            self._wake_handle = loop.call_later(delay_ms / 1_000, self._ring)

    def _ring(self) -> None:
        if self._is_stopped:
            return
        now_ms = self.now_ms()
        while self._heap and self._heap[0].due_at_ms <= now_ms:
            entry = heapq.heappop(self._heap)
            if self._due.get(entry.key) == entry.due_at_ms:
                del self._due[entry.key]
                self._fire(entry.key)
        self._set_alarm()

    def _fire(self, key: _Key) -> None:
        job = self._jobs.pop(key)
        self._running.add(key)
        task = asyncio.get_running_loop().create_task(self._deliver(key, job))
        self._in_work.add(task)
        task.add_done_callback(self._in_work.discard)

    async def _deliver(self, key: _Key, job: _Job) -> None:
        is_send = job.row.kind == SEND
        try:
            await self._submit(job.command, job.row.mark if is_send else None)
        except Exception as error:  # noqa: BLE001  one row's failure is noted, not raised
            await self._note_failure(key, job, error)
        else:
            self._running.discard(key)
            self._in_trouble.pop(key, None)
            if (following := self._following.pop(key, None)) is not None:
                self._add(key, *following)
            if is_send:
                self._is_hinted.set()

    async def _submit(self, command: Command, send_id: int | None) -> None:
        try:
            await self._committer.submit(command, actor="timer", send_id=send_id)
        except NotFoundError:
            if isinstance(command, StartWorkflow):
                raise
            if isinstance(command, RetryWorkflow) and command.task_id is not None:
                await self._answer_for_removed(command, command.task_id)
            if not await self._store.forget_sends(command.workflow_id):
                raise
            # Its run was removed: no row of it is left, and nobody to be told.

    async def _answer_for_removed(self, retry: RetryWorkflow, task_id: str) -> None:
        """Tell a parent that the child it wants to go on with is not there any more."""
        child_id = retry.workflow_id
        parent_id = await self._store.find_task(task_id)
        if parent_id is not None:
            reason = f"Sub workflow {child_id} was removed; it cannot go on"
            failed = TaskStatus.FAILED
            ended = ChildEnded(
                workflow_id=parent_id,
                task_id=task_id,
                child_id=child_id,
                status=failed,
                output=EMPTY,
                reason=reason,
                parent_epoch=retry.parent_epoch,
            )
            await self._committer.submit(ended, actor="timer")

    async def _note_failure(self, key: _Key, job: _Job, error: Exception) -> None:
        """Have the row say that it failed; the next passes find it when it is due again."""
        # A store in trouble, or others who write the same run, say nothing about this row.
        is_its_own = not (isinstance(error, BatutaError) and error.is_retryable)
        is_noted = is_its_own and await self._note(failed_again(job.row, error, self.now_ms()))
        self._running.discard(key)
        self._following.pop(key, None)  # the next pass finds it
        if is_noted:
            self._in_trouble.pop(key, None)
            return
        if not isinstance(error, BatutaError):
            _log.warning("%r failed and is tried again: %r", job.command, error)
        due_at_ms = self.now_ms() + BACK_OFF_MS
        self._in_trouble[key] = replace(job.row, error=str(error), retry_at_ms=due_at_ms)
        self._push(key, due_at_ms, job)

    async def _note(self, failed: Failing) -> bool:
        """Write a failure into its row; False when the store could not be asked to."""
        try:
            is_counted = await self._store.note_failure(failed)
        except StoreError:
            return False
        if is_counted and failed.retry_at_ms is None:
            _log.error("quarantined after %d failures: %r", failed.attempts, failed)
        elif is_counted:
            _log.warning("a row failed and is tried again: %r", failed)
        return True

    async def _rest(self) -> None:
        """Wait for the next pass, or for a hint."""
        hint = asyncio.ensure_future(self._is_hinted.wait())
        try:
            # Not wait_for, which forgets that it was cancelled when the hint comes that moment.
            await asyncio.wait([hint], timeout=PASS_S)
        finally:
            hint.cancel()


def _row(workflow_id: str, kind: str, task_id: str = "", *, mark: int) -> Failing:
    """Return a row that has not failed."""
    return Failing(
        workflow_id=workflow_id,
        kind=kind,
        task_id=task_id,
        mark=mark,
        attempts=0,
        error="",
        retry_at_ms=0,
    )


def _timer_job(workflow_id: str, task_id: str, kind: TimerKind, due_at_ms: int) -> _Job:
    command = FireTimer(workflow_id=workflow_id, task_id=task_id, kind=kind, due_at_ms=due_at_ms)
    return _Job(command, _row(workflow_id, kind.value, task_id, mark=due_at_ms))


def _lease_job(workflow_id: str, task_id: str, poll_count: int) -> _Job:
    command = ExpireLease(workflow_id=workflow_id, task_id=task_id, poll_count=poll_count)
    return _Job(command, _row(workflow_id, LEASE, task_id, mark=poll_count))
