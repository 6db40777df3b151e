"""Holds every commit against the invariants, and remembers what was promised.

``before`` and ``after`` are called by the store around each transaction; the answers are judged
in ``answers.py`` with what is kept here.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from batuta.core.graph import Graph
from batuta.core.journal import fold
from batuta.model.change import Release, RemoveWorkflow, Send
from batuta.model.command import ChildEnded, StartWorkflow
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.store.base import Accepted, Batch, Committed, Decision
from batuta.store.memory.rows import State
from tests.simulation.checks import invariants
from tests.simulation.checks.agreement import Agreement
from tests.simulation.checks.limits import Limits
from tests.simulation.checks.shadow import REOPENING, Rows, Shadow, rows_of

LATE_MS = 1_000  # from a batch's time to its commit; a slow disk
# A caller that reports and polls in one call has its task when its report is decided: scripts.
HANDS_MS = 5_000
_LIMITS = ("POLL_TIMEOUT", "TASK_TIMEOUT", "TOTAL_TIMEOUT")


class Checks:
    """The checker of one simulated world.

    Args:
        graph: Gives the graph of a snapshot's digest.
        fail: Called with (invariant, why, run id) for what is broken.
        note: Called with a line for the timeline.
        trouble_count: Gives how often a node or the store has been in trouble.
    """

    def __init__(
        self,
        state: State,
        graph: Callable[[str], Graph],
        fail: Callable[[str, str, str], None],
        note: Callable[[str], None],
        trouble_count: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        self.state = state
        self._graph = graph
        self._fail = fail
        self._note = note
        self._trouble_count = trouble_count
        self._now_ms = now_ms
        self.shadows: dict[str, Shadow] = {}
        self.names: dict[str, str] = {}  # short names of tasks, for the timeline
        self.commits = 0
        self.evaluations: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        self.leases: set[tuple[str, int]] = set()  # every (task id, poll count) ever committed
        self.answered: set[tuple[str, int]] = set()  # those that a poll was answered with
        # By lease: when it was committed, and how much trouble there had been.
        self._made: dict[tuple[str, int], tuple[int, int]] = {}
        self._held: dict[str, Any] = {}
        self._timers: dict[Any, int] = {}
        self.runs_of: dict[str, str] = {}  # by task id, whatever has become of the task
        self.agreement = Agreement(state, fail)
        self.limits = Limits(state, fail)

    def before(self) -> None:
        """Remember the tables that a commit may empty."""
        self._held = dict(self.state.held)
        self._timers = dict(self.state.timers)

    def after(self, batch: Batch, committed: Committed, node: str) -> None:
        """Check what a commit did to each run it touched."""
        self.commits += 1
        accepted = [
            decision
            for decision, verdict in zip(batch.decisions, committed.verdicts, strict=True)
            if isinstance(verdict, Accepted)
        ]
        refused_count = len(batch.decisions) - len(accepted)
        self._note(
            f"{node} commit {self.commits}" + (f", {refused_count} refused" * bool(refused_count))
        )
        for decision in accepted:
            for changes in decision.runs:
                if any(isinstance(change, RemoveWorkflow) for change in changes.changes):
                    self.shadow(changes.workflow_id).is_removed = True
        touched: dict[str, None] = {}
        for decision in accepted:
            for changes in decision.runs:
                if self.shadow(changes.workflow_id).is_removed:
                    self._after_removal(changes)
                    continue
                touched[changes.workflow_id] = None
                self._after_run(changes, batch.now_ms)
            self._check_sends(decision)
        for leases in committed.claimed:
            for lease in leases:
                touched[lease.workflow_id] = None
        self._check_leases(batch, accepted, committed, touched)
        taken = [lease.queue for leases in committed.claimed for lease in leases]
        if taken:
            self._count("I33")
            self.limits.after(taken, batch.now_ms)
        for workflow_id in touched:
            if workflow_id not in self.state.runs:
                continue
            self._check_places(workflow_id)

    def shadow(self, workflow_id: str) -> Shadow:
        """Return what is known of a run, known or new."""
        found = self.shadows.get(workflow_id)
        if found is None:
            found = self.shadows[workflow_id] = Shadow(len(self.shadows) + 1)
        return found

    def rows(self, workflow_id: str) -> Rows:
        """Return a run's rows as stored now."""
        digest = self.state.runs[workflow_id].workflow.definition
        return rows_of(self.state, workflow_id, self._graph(digest))

    def run_name(self, workflow_id: str) -> str:
        """Return the short name of a run."""
        found = self.shadows.get(workflow_id)
        return f"R{found.number}" if found else workflow_id[-6:]

    def check_journal(self, workflow_id: str) -> None:
        """I37: folding the run's journal gives its headers."""
        rows, shadow = self.rows(workflow_id), self.shadow(workflow_id)
        workflow, tasks = fold((e.version, e.at_ms, e.changed) for e in shadow.entries)
        self._count("I37")
        if workflow != rows.workflow:
            self._fail("I37", f"the journal folds to {workflow}", workflow_id)
        if {s: _timeless(t) for s, t in tasks.items()} != {
            s: _timeless(t) for s, t in rows.tasks.items()
        }:
            self._fail("I37", "the journal folds to other tasks", workflow_id)

    def is_removed_task(self, task_id: str) -> bool:
        """Say whether a task was of a run that has been removed."""
        run = self.runs_of.get(task_id)
        return run is not None and self.shadows[run].is_removed

    def _after_removal(self, changes: Any) -> None:
        """I2, I7: a run disappears when somebody asks for it, with everything that it has."""
        self._count("I2")
        run = changes.workflow_id
        shadow = self.shadow(run)
        shadow.entries += changes.entries
        self._note_statuses(shadow, changes, shadow.workflow and shadow.workflow.status)
        self._note(f"  R{shadow.number} is removed")
        if "remove" not in {entry.kind for entry in changes.entries}:
            self._fail("I2", "a run was removed that nobody asked to remove", run)
        state = self.state
        left = [timer for timer in state.timers if timer[0] == run]
        left += [row for row in state.ready.values() if row.workflow_id == run]
        left += [row for row in state.held.values() if row.lease.workflow_id == run]
        left += [row for row in state.seqs.values() if row[0] == run]
        if run in state.runs or left:
            self._fail("I7", f"a removed run has left something: {left[:3]}", run)

    def _after_run(self, changes: Any, now_ms: int) -> None:
        workflow_id = changes.workflow_id
        shadow, rows = self.shadow(workflow_id), self.rows(workflow_id)
        kinds = [entry.kind for entry in changes.entries]
        shadow.reopened_count += sum(kind in REOPENING for kind in kinds)
        self._note_run(shadow, rows, kinds)
        for check in (
            invariants.of_history(rows, shadow, changes),
            invariants.of_progress(rows),
            invariants.of_attempts(rows, shadow, set(kinds)),
            invariants.of_operators(rows),
        ):
            for invariant, why in check:
                self._fail(invariant, why, workflow_id)
        for name in ("I1", "I2", "I3", "I8", "I9", "I10", "I12", "I17", "I18", "I37"):
            self._count(name)
        self.agreement.after(rows, changes)
        self._count("I20")
        self._check_times(shadow, rows, set(kinds), now_ms)
        self._check_children(rows)
        shadow.entries += changes.entries
        before = shadow.workflow.status.value if shadow.workflow else "-"
        if before != rows.workflow.status.value:
            self.transitions["workflow", before, rows.workflow.status.value] += 1
        shadow.workflow, shadow.tasks, shadow.outputs = rows.workflow, rows.tasks, rows.outputs
        self._note_statuses(shadow, changes, rows.workflow.status)
        shadow.statuses.append((self.commits, rows.workflow.status))
        if rows.workflow.status.is_terminal:
            self.check_journal(workflow_id)

    def _note_statuses(self, shadow: Shadow, changes: Any, status: WorkflowStatus | None) -> None:
        """Remember also what lasted from one command of a batch to the next."""
        run = changes.workflow_id
        for entry in changes.entries:
            changed = msgspec.json.decode(entry.changed)
            for task in changed.get("t", {}).values():  # also one made and removed in one batch
                if "id" in task:
                    self.runs_of[task["id"]] = run
            found = changed.get("w", {}).get("s", status)
            if found is not None:
                shadow.statuses.append((self.commits, WorkflowStatus(found)))

    def _note_run(self, shadow: Shadow, rows: Rows, kinds: list[str]) -> None:
        parts = []
        for seq, task in rows.tasks.items():
            before = shadow.tasks.get(seq)
            name = f"{task.reference_name}#{task.retry_count}"
            self.names[task.task_id] = f"R{shadow.number}.{name}"
            self.runs_of[task.task_id] = rows.workflow.workflow_id
            if before is None or before.status is not task.status:
                self.transitions["task", before.status if before else "-", task.status] += 1
                parts.append(f"{name} {task.status}")
        header = "" if shadow.workflow and shadow.workflow.status is rows.workflow.status else (
            f" {rows.workflow.status} {rows.workflow.name}"
        )  # fmt: skip
        text = f"  R{shadow.number} v{rows.workflow.version} {'+'.join(kinds)}{header}"
        self._note(f"{text}: {', '.join(parts)}" if parts else text)

    def _check_places(self, workflow_id: str) -> None:
        for invariant, why in invariants.of_places(self.rows(workflow_id)):
            self._fail(invariant, why, workflow_id)
        for name in ("I4", "I5", "I6", "I7"):
            self._count(name)

    def _check_times(self, shadow: Shadow, rows: Rows, kinds: set[str], now_ms: int) -> None:
        """I24: what a timer or an expiry did was due by the time of the commit."""
        self._count("I24")
        run = rows.workflow.workflow_id
        for seq, before in shadow.tasks.items():
            now = rows.tasks.get(seq)
            if now is None or before.status.is_terminal:
                continue
            due_ms: list[int] = []
            task_id = now.task_id
            if kinds == {"expire"} and now.status is TaskStatus.TIMED_OUT:
                held = self._held.get(task_id)
                due_ms = [held.lease.expires_at_ms if held else now_ms + 1]
            elif kinds == {"timer"} and now.status is TaskStatus.TIMED_OUT:
                due_ms = [self._timers.get((run, task_id, kind), now_ms + 1) for kind in _LIMITS]
            elif kinds == {"timer"} and now.status is TaskStatus.COMPLETED and before.due_at_ms:
                # A WAIT's time, or the delay of a script's next attempt.
                enqueue_ms = self._timers.get((run, task_id, "ENQUEUE"), now_ms + 1)
                due_ms = [self._timers.get((run, task_id, "WAIT"), enqueue_ms)]
            elif kinds == {"timer"} and before.due_at_ms and not now.due_at_ms:
                # The delay of a DAG's edge, or of a task that goes to its queue.
                kind = "WAIT" if now.task_type == "DAG" else "ENQUEUE"
                due_ms = [self._timers.get((run, task_id, kind), now_ms + 1)]
            if due_ms and min(due_ms) > now_ms:
                early = f"{min(due_ms) - now_ms} ms early"
                self._fail("I24", f"{now.reference_name} {now.status} {early}", run)

    def check_hands(self) -> None:
        """I11: a leased task is soon in hands or given back, unless there was trouble."""
        self._count("I11")
        for held in self.state.held.values():
            lease = held.lease
            key = (lease.task_id, lease.poll_count)
            made_ms, troubles = self._made[key]
            is_old = self._now_ms() - made_ms > HANDS_MS
            if is_old and key not in self.answered and troubles == self._trouble_count():
                name = self.names.get(lease.task_id, lease.task_id)
                self._fail("I11", f"{name} is leased and in nobody's hands", lease.workflow_id)

    def _check_children(self, rows: Rows) -> None:
        """I19: a sub-workflow task's child is stored, or its start is."""
        self._count("I19")
        children = [task.child_id for task in rows.tasks.values() if task.child_id]
        if len(children) != len(set(children)):
            self._fail("I19", "two attempts share a child", rows.workflow.workflow_id)
        waiting = {send.workflow_id for send in self.state.sends.values()}
        for child in children:
            is_there = child in self.state.runs or self.shadow(child).is_removed
            if not is_there and child not in waiting:
                self._fail("I19", f"child {child} was never started", rows.workflow.workflow_id)

    def _check_sends(self, decision: Decision) -> None:
        """A Send is settled in its transaction or stored, never both (DESIGN.md 3.4)."""
        self._count("I19")
        for changes in decision.runs:
            for change in changes.changes:
                if not isinstance(change, Send):
                    continue
                command = change.command
                if isinstance(command, StartWorkflow) and command.workflow_id in self.state.runs:
                    self._fail("I19", "a start was settled and also stored", command.workflow_id)
                if isinstance(command, ChildEnded) and self._is_told(command, decision):
                    self._fail("I19", "an end was settled and also stored", command.workflow_id)

    def _is_told(self, command: ChildEnded, decision: Decision) -> bool:
        for changes in decision.runs:
            if changes.workflow_id == command.workflow_id:
                kinds = {entry.kind for entry in changes.entries}
                tasks = self.shadow(command.workflow_id).tasks.values()
                task = next((t for t in tasks if t.task_id == command.task_id), None)
                if task is None:
                    return False  # retired: nobody is told
                # A task cancelled by its own run's end hears of its child's later, in vain.
                is_cancelled = task.status is TaskStatus.CANCELED
                return "child_ended" in kinds and task.status is command.status and not is_cancelled
        return False

    def _check_leases(
        self, batch: Batch, accepted: list[Decision], committed: Committed, touched: dict[str, None]
    ) -> None:
        """I11: a task in hands is not given into others before it was taken back."""
        self._count("I11")
        taken_back = {
            change.task_id
            for decision in accepted
            for changes in decision.runs
            for change in changes.changes
            if isinstance(change, Release)
        }
        for touch, is_done in zip(batch.touches, committed.touched, strict=True):
            held = self._held.get(touch.task_id)
            if is_done and held is not None:
                touched[held.lease.workflow_id] = None
                if touch.is_given_back:
                    taken_back.add(touch.task_id)
        for claim, leases in zip(batch.claims, committed.claimed, strict=True):
            for lease in leases:
                if lease.task_id not in self.state.held:
                    self._fail("I5", f"a claim of {claim.queue!r} has no lease", lease.workflow_id)
        for task_id, held in self.state.held.items():
            before = self._held.get(task_id)
            lease = held.lease
            self.leases.add((task_id, lease.poll_count))
            is_same = before is not None and before.lease.polled_at_ms == lease.polled_at_ms
            # A slow commit may bring a lease whose time is over: that is trouble too.
            is_late = self._now_ms() - lease.polled_at_ms > LATE_MS
            troubles = -1 if is_late else self._trouble_count()
            self._made.setdefault((task_id, lease.poll_count), (self._now_ms(), troubles))
            if before is None or not is_same:
                self._note(f"  {self.names.get(task_id, task_id)} held by {lease.worker_id}")
            is_renewed = before is not None and before.lease.poll_count == lease.poll_count
            if before is not None and not is_renewed and task_id not in taken_back:
                self._fail("I11", "leased to two at once", lease.workflow_id)

    def _count(self, invariant: str) -> None:
        self.evaluations[invariant] += 1


def _timeless(task: Task) -> Task:
    # A journal entry's time is that of the task's last change in the batch's one instant.
    return msgspec.structs.replace(task, updated_at_ms=0)
