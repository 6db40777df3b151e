"""Judges what the server answers: durable, true, and to one caller only.

The ledger keeps what was acknowledged; ``Ledger.recheck`` asks for all of it at the end.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from batuta.model.command import (
    Control,
    PauseWorkflow,
    RerunWorkflow,
    ResetCallbacks,
    RestartWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    TerminateWorkflow,
    UpdateReference,
    UpdateTask,
)
from batuta.model.error import ConflictError, NotFoundError
from batuta.model.execution import WorkflowStatus
from batuta.runtime.view import Polled, RunView, Updated
from batuta.runtime.waiting import Outcome
from tests.simulation.checks.commit import Checks

# Why an ended run may refuse to run again, whatever its status.
_OTHER_REASONS = ("too often", "restartable=false", "no workflow definition")
ANY_TASK = ""  # of outputs reported by a reference name
_TERMINAL = {status for status in WorkflowStatus if status.is_terminal}


class Ledger:
    """What clients were told, and whether it was so."""

    def __init__(self, checks: Checks, fail: Callable[[str, str, str], None]) -> None:
        self._checks = checks
        self._state = checks.state
        self._fail = fail
        self.started: dict[str, None] = {}
        self.finished: dict[str, str] = {}  # task id: its run
        self.controls: list[tuple[str, str, int]] = []  # kind, run, entries of the kind then
        self.delivered: dict[tuple[str, int], str] = {}
        self.sent: dict[str, set[bytes]] = {}  # outputs ever reported, by task id
        self.given_back: Counter[str] = Counter()  # IN_PROGRESS reports sent, by task id

    def on_start(self, workflow_id: str, version_at_call: int) -> None:
        """I22: a started run is stored, of a version no older than was registered by then."""
        self._checks.evaluations.update(("I22", "I39"))
        self.started[workflow_id] = None
        if self._checks.shadow(workflow_id).is_removed:
            return
        if workflow_id not in self._state.runs:
            self._fail("I22", "a start was answered before it was stored", workflow_id)
            return
        version = self._state.runs[workflow_id].workflow.definition_version
        if version < version_at_call:
            why = f"version {version} was started after {version_at_call} had been registered"
            self._fail("I39", why, workflow_id)

    def on_update(self, command: UpdateTask, updated: Updated) -> None:
        """I13, I14: an acknowledged end is stored; the answer is not ahead of the disk."""
        self._checks.evaluations.update(("I13", "I14", "I39"))
        run, seq = self._state.seqs.get(command.task_id, ("", 0))
        if not run and self._checks.is_removed_task(command.task_id):
            return
        if not run:
            self._fail("I22", "an update of an unknown task was acknowledged", "")
            return
        task = self._state.runs[run].tasks[seq].task
        if command.status.is_terminal:
            self.finished[command.task_id] = run
            if not task.status.is_terminal:
                self._fail("I14", f"{task.reference_name} was acknowledged but not stored", run)
        if updated.is_terminal and not task.status.is_terminal:
            self._fail("I39", f"{task.reference_name} is said to have ended before it is", run)

    def on_ended(self, command: UpdateTask) -> None:
        """I14: an acknowledged end is stored."""
        self.on_update(command, Updated(workflow_id=command.workflow_id, task_id=command.task_id))

    def on_beat(self, task_id: str, poll_count: int, called_ms: int) -> None:
        """I14: an acknowledged heartbeat has renewed the lease, if there still is that one."""
        held = self._state.held.get(task_id)
        is_same = held is not None and held.lease.poll_count == poll_count
        if is_same and held is not None and held.lease.polled_at_ms < called_ms:
            run = held.lease.workflow_id
            self._fail("I14", "a heartbeat was acknowledged but renewed nothing", run)

    def on_reference(self, command: UpdateReference, updated: Updated) -> None:
        """As ``on_update``, for the task that the name stood for."""
        self.on_update(
            UpdateTask(
                workflow_id=command.workflow_id, task_id=updated.task_id, status=command.status
            ),
            updated,
        )

    def on_refused_update(self, task_id: str, error: Exception) -> None:
        """I14: a task that is stored, and not retired, is not refused as unknown."""
        self._checks.evaluations.update(("I14",))
        if isinstance(error, NotFoundError) and task_id in self._state.seqs:
            run, seq = self._state.seqs[task_id]
            if self._state.runs[run].tasks[seq].is_retired:
                return
            self._fail("I14", f"an update of a stored task was refused: {error}", run)

    def on_control(self, command: Control, commit_at_call: int) -> None:
        """I22: an acknowledged operation is in the journal."""
        self._checks.evaluations.update(("I22",))
        kind = str(type(command).__struct_config__.tag)
        run = command.workflow_id
        if isinstance(command, RerunWorkflow):
            run = self._owner(command)
        entries = self._checks.shadow(run).entries
        count = sum(entry.kind == kind for entry in entries)
        self.controls.append((kind, run, count))
        by_itself = WorkflowStatus.TERMINATED in self._checks.shadow(run).statuses_since(
            commit_at_call
        )
        is_moot = kind == "terminate" and by_itself
        # Nothing may be waiting, or left over.
        is_moot = is_moot or kind in {"reset_callbacks", "decide"}
        if kind == "remove" and run in self._state.runs:
            self._fail("I22", "a removed run is there", run)
        if count == 0 and run in self._state.runs and not is_moot:
            self._fail("I22", f"{kind} was acknowledged but is not in the journal", run)

    def _owner(self, command: RerunWorkflow) -> str:
        """Return the run of the task to begin with: the named one, or a sub-workflow of it."""
        return self._checks.runs_of.get(command.task_id or "", command.workflow_id)

    def on_refused_control(self, command: Control, error: Exception, commit_at_call: int) -> None:
        """A refusal is true: the run had such a status while the command was under way."""
        self._checks.evaluations.update(("I14",))
        run = command.workflow_id
        statuses = self._checks.shadow(run).statuses_since(commit_at_call)
        if isinstance(command, RerunWorkflow):
            statuses |= self._checks.shadow(self._owner(command)).statuses_since(commit_at_call)
        if not statuses or not isinstance(error, NotFoundError | ConflictError):
            return
        if self._is_about_something_gone(error):
            return
        match command:
            case PauseWorkflow():
                is_true = bool(statuses & _TERMINAL)
            case ResumeWorkflow():
                is_true = bool(statuses - {WorkflowStatus.PAUSED})
            case TerminateWorkflow():
                is_true = WorkflowStatus.COMPLETED in statuses
            case RetryWorkflow():
                is_true = isinstance(error, ConflictError) or bool(statuses - _TERMINAL)
            case RestartWorkflow() | RerunWorkflow():
                is_true = bool(statuses - _TERMINAL)
            case ResetCallbacks():
                is_true = bool(statuses & _TERMINAL)
            case _:
                is_true = True  # of a task: it may have been there
        if not is_true and not any(word in str(error) for word in _OTHER_REASONS):
            why = f"{type(command).__name__} was refused ({error}) though it was {sorted(statuses)}"
            self._fail("I14", why, run)

    def _is_about_something_gone(self, error: Exception) -> bool:
        named = re.search(r"no workflow '([^']+)'", str(error))
        return named is not None and self._checks.shadow(named[1]).is_removed

    def on_poll(self, polled: Sequence[Polled]) -> None:
        """I11: each task is on disk as leased, and nobody else was given it."""
        self._checks.evaluations.update(("I11",))
        for found in polled:
            lease = found.lease
            key = (lease.task_id, lease.poll_count)
            run = lease.workflow_id
            self._checks.answered.add(key)
            if key not in self._checks.leases:
                self._fail("I11", "a task was handed out before its lease was stored", run)
            if found.task.task_id != lease.task_id:
                self._fail("I11", "a poll's lease is of another task", run)

    def on_delivery(self, found: Polled, caller: str) -> None:
        """I11, R5: a task reaches a worker again only after its holder gave it back."""
        lease = found.lease
        key = (lease.task_id, lease.poll_count)
        name = self._checks.names.get(lease.task_id, lease.task_id)
        if key in self.delivered:
            why = f"{name} was given to {self.delivered[key]} and to {caller}"
            self._fail("I11", why, lease.workflow_id)
        earlier_count = sum(task_id == lease.task_id for task_id, _ in self.delivered)
        if earlier_count > self.given_back[lease.task_id]:
            self._fail("I11", f"{name} was given out again unasked", lease.workflow_id)
        self.delivered[key] = caller

    def on_outcome(self, run: str, outcome: Outcome) -> None:
        """I39: a waiting call ends because of what is on disk."""
        self._checks.evaluations.update(("I39",))
        shadow = self._checks.shadow(outcome.workflow_id)
        if outcome.is_late or shadow.is_removed:
            return
        if outcome.task_id is None and not any(s.is_terminal for _, s in shadow.statuses):
            self._fail("I39", "a waiting call was told of an end before it was stored", run)
        if outcome.task_id is not None and outcome.task_id not in self._state.seqs:
            self._fail("I39", "a waiting call was told of a task that is not stored", run)

    def on_get(self, view: RunView, version_at_call: int) -> None:
        """I39: a view is neither ahead of the disk nor behind what was committed before it."""
        self._checks.evaluations.update(("I39",))
        run = view.workflow.workflow_id
        stored = self._checks.shadow(run).version
        if view.workflow.version > stored:
            self._fail("I39", f"version {view.workflow.version} was shown, {stored} is stored", run)
        if view.workflow.version < version_at_call:
            why = f"version {view.workflow.version} was shown after {version_at_call} was stored"
            self._fail("I39", why, run)

    def note_sent(self, task_id: str, output: bytes) -> None:
        """Remember an output that some worker reported."""
        self.sent.setdefault(task_id, set()).add(output)

    def recheck(self) -> None:
        """I22, I13: all that was acknowledged is there, and every result came from a worker."""
        self._checks.evaluations.update(("I13", "I22"))
        gone = {run for run, shadow in self._checks.shadows.items() if shadow.is_removed}
        for run in self.started:
            if run not in gone and run not in self._state.runs:
                self._fail("I22", "an acknowledged start is lost", run)
        for task_id, run in self.finished.items():
            if run in gone:
                continue
            seq = self._state.seqs.get(task_id, ("", 0))[1]
            row = self._state.runs[run].tasks.get(seq)
            if row is None or not row.task.status.is_terminal:
                self._fail("I22", f"an acknowledged report on {task_id} is lost", run)
        for kind, run, count in self.controls:
            entries = self._checks.shadow(run).entries
            if sum(entry.kind == kind for entry in entries) < count:
                self._fail("I22", f"an acknowledged {kind} is lost", run)
        self._recheck_results()

    def _recheck_results(self) -> None:
        for run, row in self._state.runs.items():
            for seq, task_row in row.tasks.items():
                task = task_row.task
                output = row.payloads.get((seq, "output"))
                if task.queue is None or output in (None, b"{}") or not task.status.is_successful:
                    continue
                known = self.sent.get(task.task_id, set()) | self.sent.get(ANY_TASK, set())
                if output not in known:
                    value: Any = msgspec.json.decode(output)
                    self._fail("I13", f"{task.reference_name} has a result of nobody: {value}", run)
