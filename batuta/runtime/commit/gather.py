"""Deciding what has arrived: which command goes into this batch, which waits for its run.

Synchronous throughout: nothing else runs between the first command of a batch and its last.
"""

import logging
from collections import deque
from collections.abc import Callable

from batuta.core.decide import decide
from batuta.core.execution import Execution
from batuta.model.change import Needs, Send, SendInPlace
from batuta.model.command import Command, StartWorkflow
from batuta.model.error import BatutaError, ConflictError
from batuta.runtime.commit.batch import (
    DecideFunction,
    Share,
    Submitted,
    Unit,
    decide_on,
    new_execution,
)
from batuta.runtime.commit.cache import Cache
from batuta.runtime.commit.flight import Flight
from batuta.runtime.fetch import Fetcher
from batuta.runtime.queues import Queues

NEEDS_ROUNDS_MAX = 16  # fetches a command may ask for before it is refused
SETTLED_SENDS_MAX = 64  # Sends settled within one transaction; further ones become rows

_log = logging.getLogger(__name__)


class Hold:
    """Why a run is busy: how many batches or fetches have it, and who waits behind them."""

    __slots__ = ("count", "first", "share", "waiting")

    def __init__(self, share: Share | None = None) -> None:
        self.count = 1
        self.share = share  # its part of the batch
        self.first: list[Submitted] = []  # decided again before those who wait
        self.waiting: deque[Submitted] = deque()


class Holds(dict[str, Hold]):
    """The busy runs by id."""

    def release(self, workflow_id: str) -> list[Submitted]:
        """One batch or fetch less has the run; the last one lets the next commands in."""
        hold = self[workflow_id]
        hold.count -= 1
        if hold.count > 0:
            return []
        del self[workflow_id]
        return [*hold.first, *hold.waiting]

    def is_ahead(self, workflow_id: str, seq: int) -> bool:
        """Say whether a batch that may not be durable yet writes this task."""
        hold = self.get(workflow_id)
        return hold is not None and (hold.share is None or seq in hold.share.task_puts)


class Gatherer:
    """Fills flights with decisions.

    Args:
        seeds: Gives 16 random bytes for each Send settled in place.
        is_shared: Whether other nodes write to the store too.
        deciding: ``core.decide``; the tests of the tests plant bugs here.
    """

    def __init__(
        self,
        *,
        cache: Cache,
        fetcher: Fetcher,
        queues: Queues,
        seeds: Callable[[], bytes],
        environment: dict[str, str],
        is_shared: bool,
        deciding: DecideFunction = decide,
    ) -> None:
        self.holds = Holds()
        self.stored_targets: set[str] = set()  # runs with Sends in the table: no overtaking
        self.knows_targets = True  # False from a node's start until it has read that table
        self._cache = cache
        self._fetcher = fetcher
        self._queues = queues
        self._seeds = seeds
        self._environment = environment
        self._is_shared = is_shared
        self._deciding = deciding

    def take(self, submitted: Submitted, flight: Flight, now_ms: int) -> None:
        """Decide a command now, or put it behind what its run is busy with."""
        workflow_id = submitted.command.workflow_id
        hold = self.holds.get(workflow_id)
        share = flight.shares.get(workflow_id)
        is_free = share is not None and not _is_to_look_up(submitted, share.version_from)
        if hold is not None and (hold.count > 1 or not is_free):
            hold.waiting.append(submitted)
            return
        if share is None:
            execution = self._execution(submitted)
            hold = self.holds[workflow_id] = Hold()
            if execution is None:
                submitted.is_sure = True
                hold.waiting.append(submitted)
                flight.to_load.append(workflow_id)
                return
            share = hold.share = flight.shares[workflow_id] = Share(execution, Unit())
        self._decide(share, submitted, flight, now_ms)

    def _execution(self, submitted: Submitted) -> Execution | None:
        """Return the run if it is in memory; a start's is made, unless it was refused before.

        None also for a command that may be stored already: the loader looks.
        """
        command = submitted.command
        execution = self._cache.get(command.workflow_id)
        if execution is not None and _is_to_look_up(submitted, execution.workflow.version):
            return None
        if execution is None and isinstance(command, StartWorkflow) and not submitted.attempts:
            graph = self._fetcher.definitions.graph_in_memory(command.definition)
            if graph is not None and submitted.send_id is None:
                execution = new_execution(command, graph)
        return execution

    def _decide(self, share: Share, submitted: Submitted, flight: Flight, now_ms: int) -> None:
        """Decide a command on its share; settle the Sends it makes; or fetch what it needs."""
        found = self._decide_once(share, submitted, now_ms)
        if isinstance(found, Needs):
            hold = self.holds[share.execution.workflow.workflow_id]
            hold.count += 1
            flight.to_fetch.append((share.execution, submitted, found))
            return
        share.commands.append(submitted)
        if found:
            # Refused before: whoever won may have stored a Send that those in place overtook.
            self._settle_sends(share, found, flight, now_ms, is_again=submitted.attempts > 0)
        if submitted.poll_worker is not None:
            self._follow(share, submitted, flight, now_ms)

    def _decide_once(
        self, share: Share, submitted: Submitted, now_ms: int
    ) -> Needs | list[Send] | None:
        """Return the Sends, or what is lacking; None when the command is refused."""
        while True:
            try:
                found = decide_on(
                    share,
                    submitted,
                    now_ms=now_ms,
                    environment=self._environment,
                    deciding=self._deciding,
                )
            except BatutaError as error:
                submitted.error = error
                return None
            except Exception as error:  # noqa: BLE001  a bug of ours fails one command (R13)
                _log.exception("deciding %r failed", submitted.command)
                submitted.error = error
                share.is_damaged = True
                return None
            if not isinstance(found, Needs):
                return found
            submitted.needs_rounds += 1
            if submitted.needs_rounds > NEEDS_ROUNDS_MAX:
                submitted.error = ConflictError(f"the command needs too much: {found.wanted!r}")
                return None
            if not self._fetcher.answer_now(found, submitted.answers):
                return found

    def _settle_sends(
        self, share: Share, sends: list[Send], flight: Flight, now_ms: int, *, is_again: bool
    ) -> None:
        """Decide Sends in the same transaction where their runs are free; store the others.

        Args:
            is_again: The command was refused before: only starts are settled in place.
        """
        waiting = deque((share, send) for send in sends)
        settled_count = 0
        while waiting:
            sender, send = waiting.popleft()
            is_start = isinstance(send.command, StartWorkflow)
            target = None
            if is_start or not is_again:
                target = self._target(send.command, sender, flight)
            found: Needs | list[Send] | None = None
            if target is not None and settled_count < SETTLED_SENDS_MAX:
                settled_count += 1
                inner = Submitted(
                    send.command, None, seed=self._seeds(), request_id=sender.request_id
                )
                found = self._decide_once(target, inner, now_ms)
            if target is not None and self._is_shared and not target.entries:
                # It changes nothing that memory knows of, and no version check says that memory
                # knows all: a row makes its target decide, and be checked.
                found = None
            if target is None or found is None or isinstance(found, Needs):
                sender.other.append(send)
                sender.unit.has_stored_sends = True
                self.stored_targets.add(send.command.workflow_id)
                continue
            if target.unit is not sender.unit:
                sender.unit.absorb(target.unit)
            if not is_start:  # which comes before all that may ever be stored for its run
                sender.other.append(SendInPlace(send.command.workflow_id))
            waiting.extend((target, further) for further in found)

    def _target(self, command: Command, sender: Share, flight: Flight) -> Share | None:
        """Return the share of a Send's run, if the run is free and in memory."""
        workflow_id = command.workflow_id
        share = flight.shares.get(workflow_id)
        if not (self.knows_targets or isinstance(command, StartWorkflow)):
            return None
        if share is not None:
            is_free = self.holds[workflow_id].count == 1
            return share if is_free and workflow_id not in self.stored_targets else None
        if workflow_id in self.holds or workflow_id in self.stored_targets:
            return None
        execution = self._cache.get(workflow_id)
        if execution is None and isinstance(command, StartWorkflow):
            graph = self._fetcher.definitions.graph_in_memory(command.definition)
            execution = new_execution(command, graph) if graph is not None else None
        if execution is None:
            return None
        share = flight.shares[workflow_id] = Share(execution, sender.unit)
        self.holds[workflow_id] = Hold(share)
        return share

    def _follow(self, share: Share, submitted: Submitted, flight: Flight, now_ms: int) -> None:
        """Let the caller of an update poll the queue of the task it ended."""
        task = share.execution.task(getattr(submitted.command, "task_id", ""))
        waiter = submitted.poll_worker
        if waiter is None:
            return
        if task is None or task.queue is None or not task.status.is_terminal:
            waiter.resolve([])
        elif waiter.is_open():
            queue = self._queues.get(task.queue)
            queue.note_poll(waiter.worker_id, now_ms)
            flight.followers.append((queue, submitted))


def _is_to_look_up(submitted: Submitted, version: int) -> bool:
    """Say whether the loader has to answer a command, or to see whether it is stored."""
    is_tried = bool(submitted.versions_unknown)
    return is_tried and (submitted.is_worn_out or submitted.may_be_in(version))
