"""I20, I21: each run is as the reference says, after every commit, as long as it says anything.

Tells the reference what happened to a run from outside: which attempts ended, which delays were
over, what operators asked for. All that follows from it is the reference's own, and compared.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from batuta.model.change import ClearTimer, SetTimer
from batuta.model.command import RerunWorkflow, TimerKind
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.definitions import TASK_DEF
from batuta.store.base import Entry, RunChanges
from batuta.store.memory.rows import State
from tests.simulation.checks.shadow import Rows
from tests.simulation.reference.dag import has_delay
from tests.simulation.reference.fact import Ending, Fact, Given, Registered, UncoveredError
from tests.simulation.reference.machine import Machine
from tests.simulation.reference.made import Made
from tests.simulation.reference.operators import BEGIN

_SCRIPTS = frozenset({"INLINE", "LAMBDA", "JSON_JQ_TRANSFORM"})
_FAILED = frozenset({"FAILED", "FAILED_WITH_TERMINAL_ERROR", "TIMED_OUT"})
_AT_ONCE = frozenset({"START_WORKFLOW", "EVENT"})
_LEAF_INPUTS = frozenset({"SUB_WORKFLOW", "START_WORKFLOW", "EVENT"})  # not as given


class _Run:
    """A run with the reference's machine, while it is covered."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.tasks: dict[str, dict[str, Any]] = {}  # records in the journal's words, by seq
        self.compared: dict[int, TaskStatus] = {}  # payloads, by seq and at which status
        self.known: set[tuple[str, int]] = set()  # attempts that there were after the last commit
        self.is_behind = False  # the engine has stopped in between and goes on by itself
        self.variables: Any = {}  # as they were before the last commit


class Agreement:
    """Holds runs against the reference.

    Args:
        fail: Called with (invariant, why, run id).
    """

    def __init__(self, state: State, fail: Callable[[str, str, str], None]) -> None:
        self._state = state
        self._fail = fail
        self._runs: dict[str, _Run | None] = {}
        self._registered: dict[str, Registered] = {}  # by digest
        self.asked: dict[str, list[RerunWorkflow]] = {}  # reruns from a task, by its id
        self.covered: Counter[str] = Counter()  # commits compared; and why runs were not

    def after(self, rows: Rows, changes: RunChanges) -> None:
        """Move the reference on by a commit's entries, and compare."""
        entries = changes.entries
        run = rows.workflow.workflow_id
        if run not in self._runs and entries[0].kind == "start":
            self._runs[run] = self._begin(rows)
        known = self._runs.get(run)
        if known is None:
            return
        # Where between the entries a decision stopped, to go on later, nobody can tell.
        is_unclear = len(entries) > 1 and any(
            isinstance(change, SetTimer | ClearTimer) and change.kind is TimerKind.CONTINUE
            for change in changes.changes
        )
        if is_unclear:
            self._give_up(run, "interrupted")
            return
        if sum(entry.kind == "rerun" for entry in entries) > 1:
            self._give_up(run, "rerun-input: of several in one commit only the last is stored")
            return
        known.variables = dict(known.machine.variables)
        try:
            for entry in entries:
                self._take(known, rows, entry)
            self._compare(known, rows)
        except UncoveredError as why:
            self._give_up(run, str(why))

    def _give_up(self, run: str, why: str) -> None:
        self._runs[run] = None
        self.covered[f"uncovered: {why.split(maxsplit=1)[0]}"] += 1

    def _registered_of(self, rows: Rows) -> Registered:
        digest = rows.workflow.definition
        registered = self._registered.get(digest)
        if registered is None:
            registered = self._registered[digest] = self._read(digest)
        return registered

    def _begin(self, rows: Rows) -> _Run:
        registered = self._registered_of(rows)
        given = self._payload(rows.workflow.workflow_id, 0, "input")
        return _Run(Machine(registered, given, rows.workflow.correlation_id))

    def _read(self, digest: str) -> Registered:
        document = msgspec.json.decode(self._state.snapshots[digest])
        # They are registered once, so that all runs have the same.
        task_defs = {
            name: msgspec.json.decode(found.body)
            for (kind, name, _), found in self._state.documents.items()
            if kind == TASK_DEF
        }
        return msgspec.convert(
            {
                "workflow": document["workflow"],
                "task_defs": {**task_defs, **document.get("task_defs", {})},
            },
            Registered,
        )

    def _payload(self, run: str, seq: int, part: str) -> Any:
        raw = self._state.runs[run].payloads.get((seq, part))
        return {} if raw is None else msgspec.json.decode(raw)

    def _take(self, known: _Run, rows: Rows, entry: Entry) -> None:
        changed = msgspec.json.decode(entry.changed)
        fact = Fact(entry.kind, entry.at_ms)
        if known.is_behind and entry.kind not in {"timer", "log"}:
            raise UncoveredError("interrupted by " + entry.kind)
        if known.is_behind and changed.get("w", {}).get("s") == "TIMED_OUT":
            raise UncoveredError("interrupted by its time")
        if known.is_behind:
            self._put_off(known)
        known.is_behind = False
        new = [seq for seq in changed.get("t", {}) if seq not in known.tasks]
        for seq, fields in changed.get("t", {}).items():
            before = known.tasks.get(seq)
            after = known.tasks[seq] = {**(before or {}), **fields}
            self._note(known.machine, fact, rows, int(seq), before, after)
        if entry.kind == "restart":
            known.machine.redefine(self._registered_of(rows))
            known.compared.clear()
        retired = {str(seq) for seq in changed.get("x", ())}
        fact.order = {
            (task["ref"], task.get("rc", 0)): int(seq)
            for seq, task in known.tasks.items()
            if seq not in new
        }
        if entry.kind == "revive":
            fact.is_below = self._is_rerun_below(known, retired, new)
        if entry.kind == "rerun":
            self._note_rerun(known, fact, rows, retired, new)
        for seq in retired:
            task = known.tasks.pop(seq)
            known.known.discard((task["ref"], task.get("rc", 0)))
        self._choose_cancelled(fact, rows)
        status = changed.get("w", {}).get("s")
        has_ended = bool(fact.endings) or bool(fact.due)
        fact.is_over = entry.kind == "timer" and status == "TIMED_OUT" and not has_ended
        fact.is_over |= entry.kind == "terminate" and status == "TERMINATED"
        known.machine.take(fact)

    @staticmethod
    def _put_off(known: _Run) -> None:
        """Count what the engine has yet to make, having stopped in between, as made from now on."""
        there = {(task["ref"], task.get("rc", 0)) for task in known.tasks.values()}
        for made in known.machine.made:
            if (made.name, made.retry) not in there:
                made.command = known.machine.commands + 1

    @staticmethod
    def _is_rerun_below(known: _Run, retired: set[str], new: list[str]) -> bool:
        """Say whether a run goes on from a task of its child; there may be nothing to retire.

        Told so, it tries again what had failed of itself too; a child that merely runs again
        leaves that as it is.
        """
        if any(known.machine.may_be_dropped(known.tasks[seq]["ref"]) for seq in retired):
            raise UncoveredError("rerun-below: or were they of a pass that is dropped?")
        before = {known.tasks[seq].get("ri") for seq in new}
        return bool(retired) or any(
            task["id"] in before and task.get("s") in _FAILED and "ch" not in task
            for task in known.tasks.values()
        )

    def _note_rerun(
        self, known: _Run, fact: Fact, rows: Rows, retired: set[str], new: list[str]
    ) -> None:
        """Say what the rerun is from: the first retired task that somebody asked for."""
        run = rows.workflow.workflow_id
        fact.input = self._payload(run, 0, "input")
        fact.correlation_id = rows.workflow.correlation_id
        asked = [seq for seq in sorted(retired, key=int) if known.tasks[seq]["id"] in self.asked]
        is_whole = bool(retired) and {*known.tasks} == {*new, *retired}
        by_hand = {made.name for made in known.machine.made if made.is_by_hand}
        is_sure = not asked or any(known.tasks[seq]["ref"] in by_hand for seq in retired - {*asked})
        if is_whole and (is_sure or not new or self._is_anew(known, fact, run, new)):
            known.compared.clear()
            return
        if not asked:
            self._fail("I20", "it is rerun from a task that nobody asked for", run)
            raise UncoveredError("rerun from a task that nobody asked for")
        task = known.tasks[asked[0]]
        fact.origin = task["ref"], task.get("rc", 0)
        seqs = [seq for seq in new if known.tasks[seq]["ref"] == task["ref"]]
        got = [self._payload(run, int(seq), "input") for seq in seqs]
        asked_for = [command.task_input for command in self.asked[task["id"]]]
        given = [None if one is None else Given(one.value) for one in asked_for]
        # Of several that asked the one that was heard first; it is not told who that was.
        heard = [one for one in given if one and any({**g, **one.value} == g for g in got)]
        fact.task_input = (*heard, None)[0] if None in given else (*heard, *given)[0]

    def _is_anew(self, known: _Run, fact: Fact, run: str, new: list[str]) -> bool:
        """Say whether a rerun is of everything, where it may be from the first task too."""
        seq = min(new, key=int)
        node = known.machine.definition.tasks[0]
        first = node.task_reference_name
        if known.tasks[seq].get("rc", 0) or known.tasks[seq]["ref"] != first:
            return False
        given = self._payload(run, int(seq), "input")
        machine = known.machine
        before = machine.input, machine.correlation_id
        machine.input, machine.correlation_id = fact.input, fact.correlation_id
        expected = machine.input_of(node)
        machine.input, machine.correlation_id = before
        is_other = any(given.get(key) != value for key, value in expected.items())
        return not is_other and (
            node.type in BEGIN or node.type in _LEAF_INPUTS or given == expected
        )

    @staticmethod
    def _choose_cancelled(fact: Fact, rows: Rows) -> None:
        """Of attempts that are CANCELED find the one whose child was; the others follow from it."""
        if not fact.cancelled or fact.endings:
            return
        ids = list(fact.cancelled)
        chosen = ids[0] if len(ids) == 1 else rows.workflow.failed_task_id
        if chosen not in fact.cancelled:
            raise UncoveredError("cancelled")
        name, retry, ending = fact.cancelled[chosen or ""]
        fact.endings[name, retry] = ending

    def _note(
        self,
        machine: Machine,
        fact: Fact,
        rows: Rows,
        seq: int,
        before: dict[str, Any] | None,
        after: dict[str, Any],
    ) -> None:
        status = TaskStatus(after.get("s", "SCHEDULED"))
        name, retry = after["ref"], after.get("rc", 0)
        output = self._payload(rows.workflow.workflow_id, seq, "output")
        ending = Ending(status, output, after.get("r") or "")
        if before is None:
            if status is TaskStatus.SKIPPED:
                fact.skipped[name] = output
            elif status.is_terminal and status is not TaskStatus.CANCELED:
                fact.at_once[name, retry] = ending
            return
        if TaskStatus(before.get("s", "SCHEDULED")).is_terminal:
            # One told to go on may have been cut short again within the same command.
            is_told = fact.kind == "revive" and not after.get("rt")
            if not status.is_terminal or is_told or after.get("ce") != before.get("ce"):
                fact.reopened.add(name)
            return
        made = machine.find(name, retry)
        if made.node.type in _SCRIPTS:
            is_canceled = status is TaskStatus.CANCELED
            if fact.kind.startswith("update") and status.is_terminal and not is_canceled:
                fact.endings[name, retry] = ending  # by hand, while it waited for its time
            elif not is_canceled and (status.is_terminal or (before.get("du") and not after["du"])):
                fact.due.append((name, retry))
        elif made.node.type in BEGIN and made.node.type != "DYNAMIC":
            if fact.kind == "timer" and before.get("du") not in {None, 0, after.get("du")}:
                fact.due.append((name, retry))  # the delay of a DAG's edge is over
            return  # a container ends because of what is in it
        elif status.is_terminal:
            if status is TaskStatus.CANCELED:
                if fact.kind == "child_ended" and made.node.type == "SUB_WORKFLOW":
                    fact.cancelled[after["id"]] = (name, retry, ending)
            else:
                if status is TaskStatus.COMPLETED_WITH_ERRORS:
                    ending = Ending(self._failure(fact, after), ending.output, ending.reason)
                fact.endings[name, retry] = ending

    @staticmethod
    def _failure(fact: Fact, after: dict[str, Any]) -> TaskStatus:
        """Return how an optional task failed, of which its record says only that it did."""
        reason = after.get("r") or ""
        if fact.kind == "expire" or "imeout" in reason:
            return TaskStatus.TIMED_OUT
        return TaskStatus.FAILED_WITH_TERMINAL_ERROR

    def _compare(self, known: _Run, rows: Rows) -> None:
        run = rows.workflow.workflow_id
        if (run, "", "CONTINUE") in self._state.timers:
            known.is_behind = True
            is_ahead = known.machine.status is not rows.workflow.status
            waits = any(m.is_open and m.node.type in _AT_ONCE for m in known.machine.made)
            # A delay counts from an end that the engine has yet to come to.
            waits |= any(m.is_open and has_delay(m) for m in known.machine.made)
            if is_ahead or waits:  # for what only the engine's going on tells
                raise UncoveredError("interrupted")
            return
        self.covered["commits"] += 1
        machine = known.machine
        status = rows.workflow.status
        if machine.status is not status:
            self._fail("I20", f"the run is {status}, the reference says {machine.status}", run)
        found = {(t.reference_name, t.retry_count): (seq, t) for seq, t in rows.tasks.items()}
        expected = {(made.name, made.retry): made for made in machine.made}
        odd = {*found} ^ {*expected}
        odd_or_cut = odd | {
            key
            for key in {*found} & {*expected}
            if TaskStatus.CANCELED in {found[key][1].status, expected[key].status}
            and found[key][1].status is not expected[key].status
        }
        if odd_or_cut and _is_cut_short(status, found) and not odd_or_cut & known.known:
            raise UncoveredError("race: who was first of those beside what ended the run?")
        known.known = {*found}
        for name, retry in sorted(odd):
            who = "the engine" if (name, retry) in found else "the reference"
            self._fail("I20", f"only {who} has {name} #{retry}", run)
        for key in {*found} & {*expected}:
            seq, task = found[key]
            made = expected[key]
            made.at_ms = task.first_scheduled_at_ms  # later, when the engine had stopped in between
            if _word(task.status) != _word(made.status):
                why = f"{task.reference_name} is {task.status}, the reference says {made.status}"
                self._fail("I20", why, run)
            if known.compared.get(seq) is not task.status:
                known.compared[seq] = task.status
                self._compare_payloads(known, rows, seq, made)
        if status.is_terminal:
            self._compare_end(machine, run, status)

    def _excuse_a_race(self, known: _Run) -> None:
        """Which of the branches of one command came first nobody says; a variable tells it."""
        if known.machine.variables != known.variables:
            raise UncoveredError("race: was a variable set before it was read beside?")

    def _compare_payloads(self, known: _Run, rows: Rows, seq: int, made: Made) -> None:
        run, kind = rows.workflow.workflow_id, made.node.type
        is_computed = kind in BEGIN and kind not in {"DYNAMIC", "FORK_JOIN", "FORK_JOIN_DYNAMIC"}
        if is_computed and made.status.is_terminal:
            output = self._payload(run, seq, "output")
            if made.status is not TaskStatus.CANCELED and output != made.output:
                self._excuse_a_race(known)
                why = f"{made.name} gave {output}, the reference says {made.output}"
                self._fail("I20", why, run)
        if kind in BEGIN or kind in _LEAF_INPUTS or made.status is TaskStatus.SKIPPED:
            return
        given = self._payload(run, seq, "input")
        if given != made.input:
            self._excuse_a_race(known)
            self._fail("I21", f"{made.name} got {given}, the reference says {made.input}", run)

    def _compare_end(self, machine: Machine, run: str, status: WorkflowStatus) -> None:
        self.covered["runs"] += 1
        if self._payload(run, 0, "variables") != machine.variables:
            self._fail("I20", f"the variables are not {machine.variables}", run)
        if status is WorkflowStatus.COMPLETED:
            output = self._payload(run, 0, "output")
            if output not in machine.may_give:
                why = f"the run gave {output}, the reference says one of {machine.may_give}"
                self._fail("I20", why, run)


def _is_cut_short(status: WorkflowStatus, found: dict[Any, Any]) -> bool:
    """Say whether a run was ended by something in it, whatever else was under way."""
    is_ended = status.is_terminal and status is not WorkflowStatus.COMPLETED
    return is_ended or any(task.task_type == "TERMINATE" for _, task in found.values())


def _word(status: TaskStatus) -> str:
    return status.value if status.is_terminal else "open"
