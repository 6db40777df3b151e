"""What is due: timers, ended leases, stored Sends.

Tables are the truth. A node holds in memory only what is due within HORIZON_MS and was committed
here or read at the last pass; a pass a second reads the tables again, so that losing every hint
costs one second. A timer never fires before store time reaches it. A command that fails is tried
again with back-off and set aside after FAILURES_MAX: one poison row delays nobody else.
"""

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable

import msgspec

from batuta.model.change import ClearTimer, Send
from batuta.model.command import (
    ChildEnded,
    Command,
    ExpireLease,
    FireTimer,
    RetryWorkflow,
    StartWorkflow,
    decode_command,
)
from batuta.model.error import BatutaError, NotFoundError
from batuta.model.execution import Lease, TaskStatus
from batuta.model.payload import EMPTY
from batuta.runtime.clock import pause
from batuta.runtime.commit.batch import Share
from batuta.runtime.commit.committer import Committer
from batuta.store.base import Store

PASS_S = 1.0  # between two readings of the tables
HORIZON_MS = 5_000  # how far ahead memory looks; five passes, so that none is missed
DUE_MAX = 2_000  # rows of each kind read in one pass
FULL_PASS_S = 0.05  # after a pass that hit DUE_MAX
FAILURES_MAX = 5  # then a row is set aside until the next start
BACK_OFF_MS = 1_000  # after the first failure; doubles

SEND = "SEND"  # the kind of a stored Send's key

_log = logging.getLogger(__name__)

_Key = tuple[str, str, str]  # workflow id, task id or send id, kind


class Failure(msgspec.Struct, frozen=True):
    """How often a row failed, and how the last time; ``retry_at_ms`` 0: it is set aside."""

    count: int
    error: str
    retry_at_ms: int = 0


class _Entry(msgspec.Struct, order=True):
    """A place in the heap; entries whose key has moved on are skipped."""

    due_at_ms: int
    key: _Key


class Timers:
    """Submits commands when they are due. Run ``run`` as a supervised loop."""

    def __init__(self, store: Store, committer: Committer, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._committer = committer
        self.now_ms = now_ms
        self._heap: list[_Entry] = []
        self._due: dict[_Key, int] = {}
        self._commands: dict[_Key, tuple[Command, int | None]] = {}
        self._failures: dict[_Key, Failure] = {}
        self._running: set[_Key] = set()
        # Set anew by what its own firing committed (CONTINUE), while that is still running.
        self._following: dict[_Key, tuple[int, Command]] = {}
        self._wake_handle: asyncio.TimerHandle | None = None
        self._is_hinted = asyncio.Event()
        self._stored_since: set[str] = set()  # targets of Sends stored since the last pass began
        self._in_work: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        self.set_aside: dict[_Key, str] = {}

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
            fire = FireTimer(
                workflow_id=timer.workflow_id,
                task_id=timer.task_id,
                kind=timer.kind,
                due_at_ms=timer.due_at_ms,
            )
            self._add((timer.workflow_id, timer.task_id, timer.kind), timer.due_at_ms, fire)
        for lease in due.leases:
            self._add_lease(lease)
        seen: set[str] = set()
        for send in due.sends:
            # In order for each target: the next one comes when this one is consumed.
            if send.workflow_id not in seen:
                seen.add(send.workflow_id)
                key = (send.workflow_id, str(send.send_id), SEND)
                self._add(key, 0, decode_command(send.document), send.send_id)
        self._committer.stored_targets.update(seen)
        if len(due.sends) < DUE_MAX:
            self._committer.know_targets(are_known=True)
            gone = before - seen - self._stored_since
            self._committer.stored_targets.difference_update(gone)
            self._forget_consumed({str(send.send_id) for send in due.sends})
        return max(len(due.timers), len(due.leases), len(due.sends)) >= DUE_MAX

    def _forget_consumed(self, send_ids: set[str]) -> None:
        """Try no more to deliver Sends that another node has delivered."""
        for key in [key for key in self._failures if key[2] == SEND and key[1] not in send_ids]:
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
                fire = FireTimer(
                    workflow_id=workflow_id,
                    task_id=change.task_id,
                    kind=change.kind,
                    due_at_ms=change.due_at_ms,
                )
                if key in self._running:
                    self._following[key] = (change.due_at_ms, fire)
                self._add(key, change.due_at_ms, fire)
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

    def failures_of(self, workflow_id: str) -> list[tuple[str, str, Failure]]:
        """Return (kind, task id or "", failure) of a run's rows that fail or are set aside."""
        found = dict(self._failures)
        found |= {key: Failure(FAILURES_MAX, error) for key, error in self.set_aside.items()}
        return [
            (kind, "" if kind == SEND else task_id, failure)
            for (run, task_id, kind), failure in found.items()
            if run == workflow_id
        ]

    def _add_lease(self, lease: Lease) -> None:
        expire = ExpireLease(
            workflow_id=lease.workflow_id, task_id=lease.task_id, poll_count=lease.poll_count
        )
        self._add((lease.workflow_id, lease.task_id, "LEASE"), lease.expires_at_ms, expire)

    def _add(self, key: _Key, due_at_ms: int, command: Command, send_id: int | None = None) -> None:
        if key in self._running or key in self.set_aside:
            return
        if key in self._failures and key in self._due:
            return  # its back-off stands
        if self._due.get(key) == due_at_ms:
            return
        self._due[key] = due_at_ms
        self._commands[key] = (command, send_id)
        heapq.heappush(self._heap, _Entry(due_at_ms, key))
        if self._heap[0].key == key:
            self._set_alarm()

    def _forget(self, key: _Key) -> None:
        self._due.pop(key, None)
        self._commands.pop(key, None)
        self._failures.pop(key, None)
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
        command, send_id = self._commands.pop(key)
        self._running.add(key)
        task = asyncio.get_running_loop().create_task(self._deliver(key, command, send_id))
        self._in_work.add(task)
        task.add_done_callback(self._in_work.discard)

    async def _deliver(self, key: _Key, command: Command, send_id: int | None) -> None:
        try:
            await self._submit(command, send_id)
        except Exception as error:  # noqa: BLE001  one row's failure is noted, not raised
            self._running.discard(key)
            self._following.pop(key, None)  # the next pass finds it
            self._note_failure(key, command, send_id, error)
        else:
            self._running.discard(key)
            self._failures.pop(key, None)
            if (following := self._following.pop(key, None)) is not None:
                self._add(key, *following)
            if send_id is not None:
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

    def _note_failure(
        self, key: _Key, command: Command, send_id: int | None, error: Exception
    ) -> None:
        # A store in trouble, or others who write the same run, say nothing about this row.
        is_its_own = not (isinstance(error, BatutaError) and error.is_retryable)
        before = self._failures.get(key)
        count = (before.count if before else 0) + is_its_own
        if count >= FAILURES_MAX:
            self.set_aside[key] = str(error)
            self._failures.pop(key, None)
            _log.error("set aside after %d failures: %r: %s", count, command, error)
            return
        if not isinstance(error, BatutaError):
            _log.warning("%r failed and is tried again: %r", command, error)
        due_at_ms = self.now_ms() + (BACK_OFF_MS << max(count - 1, 0))
        self._failures[key] = Failure(count, str(error), due_at_ms)
        self._due[key] = due_at_ms
        self._commands[key] = (command, send_id)
        heapq.heappush(self._heap, _Entry(due_at_ms, key))
        self._set_alarm()

    async def _rest(self) -> None:
        """Wait for the next pass, or for a hint."""
        hint = asyncio.ensure_future(self._is_hinted.wait())
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(hint), PASS_S)
        finally:
            hint.cancel()
