"""Runs in memory, driven by hand: what decide, apply and a store would do together, in one thread.

A ``World`` holds several runs with their queue rows, leases, timers and Sends, so that
sub-workflows and failure workflows work. Each decision is held against the promises that every
decision keeps (``promises.py``), whatever the case is about. Ids and jitter derive from a count of
decisions, so that a case gives the same bytes each time.
"""

import hashlib
import heapq
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from batuta.core.apply import apply
from batuta.core.decide import decide
from batuta.core.definition.normalize import read_task_def, read_workflow_def
from batuta.core.execution import Execution
from batuta.core.graph import Graph, Snapshot
from batuta.core.journal import entry_document
from batuta.core.tasks.dynamic.shape import with_inner
from batuta.model.change import (
    Answers,
    Change,
    ClearTimer,
    Enqueue,
    Failure,
    NeedDefinition,
    NeedDomain,
    NeedGraph,
    NeedJq,
    Needs,
    NeedScript,
    NeedTaskDefs,
    PinnedDefinition,
    PutLease,
    Release,
    RemoveWorkflow,
    Send,
    SetTimer,
)
from batuta.model.command import Command, ExpireLease, FireTimer, StartWorkflow, TimerKind
from batuta.model.execution import Lease, Task, Workflow, lease_expiry_ms
from batuta.model.payload import Payload
from tests.scenario.promises import check_decision, check_run

if TYPE_CHECKING:
    from batuta.model.definition import TaskDef

START_MS = 1_763_625_600_000  # 2025-11-20 08:00 UTC; the cases show times as seconds after it
SENDS_MAX = 1_000  # deliveries that one command may cause; more means that runs feed each other


class Run:
    """One run, and the rows that a store keeps beside its records."""

    def __init__(self, execution: Execution, label: str) -> None:
        self.execution = execution
        self.label = label
        self.queued: dict[str, Enqueue] = {}
        self.timers: dict[tuple[str, TimerKind], int] = {}
        self.entries: list[tuple[int, int, bytes]] = []


class World:
    """All runs, the clock, and what Needs are answered from."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.runs: dict[str, Run] = {}
        self.graphs: dict[str, dict[int, Graph]] = {}
        self.task_defs: dict[str, TaskDef] = {}
        self.domains: set[str] = set()
        self.scripts: dict[str, Any] = {}
        self.late: set[str] = set()
        self.sends: list[Command] = []
        self.are_sends_held = False
        self._decisions = 0

    # -- definitions -----------------------------------------------------------------------

    def define(self, document: dict[str, Any]) -> None:
        """Register a definition; see ``expand`` for what may be left out."""
        definition = read_workflow_def(expand(document))
        used = {task.name for first in definition.tasks for task in with_inner(first)}
        graph = Graph(
            Snapshot(
                workflow=definition,
                task_defs={name: found for name, found in self.task_defs.items() if name in used},
            ),
            f"{definition.name}@{definition.version}",
        )
        self.graphs.setdefault(definition.name, {})[definition.version] = graph

    def define_task(self, document: dict[str, Any]) -> None:
        """Register a task definition, for the workflow definitions after it."""
        task_def = read_task_def(document)
        self.task_defs[task_def.name] = task_def

    def graph(self, name: str, version: int) -> Graph | None:
        """Return a definition's graph, of the newest version for 0."""
        versions = self.graphs.get(name, {})
        return versions.get(version or max(versions, default=0))

    # -- commands --------------------------------------------------------------------------

    def submit(self, command: Command) -> Sequence[Change]:
        """Decide and commit a command, and every Send that follows from it."""
        changes = self.decide(command)
        self.deliver()
        return changes

    def deliver(self) -> None:
        """Give the pending Sends to their runs, in order."""
        for _ in range(SENDS_MAX):
            if not self.sends or self.are_sends_held:
                return
            command = self.sends.pop(0)
            # To a run that was removed meanwhile nothing is told; a store forgets the row.
            if isinstance(command, StartWorkflow) or command.workflow_id in self.runs:
                self.decide(command)
        raise AssertionError("the runs send each other commands for ever")

    def decide(self, command: Command) -> Sequence[Change]:
        """Decide one command and commit it; the Sends it makes wait for ``deliver``."""
        run = self.runs.get(command.workflow_id)
        if isinstance(command, StartWorkflow):
            run = self._new_run(command)
        assert run is not None, f"there is a run {command.workflow_id}"
        self._decisions += 1
        seed = hashlib.md5(b"%d" % self._decisions).digest()
        answers: Answers = {}

        def again() -> Sequence[Change] | Needs:
            return decide(run.execution, command, now_ms=self.now_ms, seed=seed, answers=answers)

        changes = check_decision(run.execution, again)
        while isinstance(changes, Needs):
            answers.update({need: self._answer(need) for need in changes.wanted})
            changes = check_decision(run.execution, again)
        if changes:
            self.runs[command.workflow_id] = run
            self._commit(run, changes)
        return changes

    def advance(self, until_ms: int) -> None:
        """Move the clock, firing what is due on the way, each at its own time."""
        while (due := self._next_due()) is not None and due[0] <= until_ms:
            self.now_ms = max(self.now_ms, due[0])
            self.submit(due[1])
        self.now_ms = max(self.now_ms, until_ms)

    def poll(self, queue: str, worker_id: str = "w") -> Task | None:
        """Lease the most urgent task of a queue, as a store does for a worker."""
        ready = [
            (-row.priority, row.at_ms, row.task_id, row, run)
            for run in self.runs.values()
            for row in run.queued.values()
            if row.queue == queue
        ]
        if not ready:
            return None
        *_, row, run = heapq.nsmallest(1, ready, key=lambda found: found[:3])[0]
        del run.queued[row.task_id]
        started_at_ms = row.started_at_ms or self.now_ms
        lease = Lease(
            task_id=row.task_id,
            workflow_id=run.execution.workflow.workflow_id,
            queue=queue,
            worker_id=worker_id,
            poll_count=row.poll_count + 1,
            started_at_ms=started_at_ms,
            polled_at_ms=self.now_ms,
            expires_at_ms=lease_expiry_ms(self.now_ms, started_at_ms, row.lease_ms, row.timeout_ms),
            lease_ms=row.lease_ms,
            timeout_ms=row.timeout_ms,
        )
        run.execution.leases[row.task_id] = lease
        return run.execution.task(row.task_id)

    def heartbeat(self, run: Run, task: Task) -> None:
        """Renew a lease, as extendLease does: no decision, no new version."""
        lease = run.execution.leases[task.task_id]
        expires_at_ms = lease_expiry_ms(
            self.now_ms, lease.started_at_ms, lease.lease_ms, lease.timeout_ms
        )
        run.execution.leases[task.task_id] = msgspec.structs.replace(
            lease, polled_at_ms=self.now_ms, expires_at_ms=expires_at_ms
        )

    # -- the store's part ------------------------------------------------------------------

    def _new_run(self, command: StartWorkflow) -> Run:
        known = self.runs.get(command.workflow_id)
        if known is not None:
            return known
        graph = self.graph(command.name, command.definition_version)
        assert graph is not None, f"definition {command.name!r} is registered"
        workflow = Workflow(
            workflow_id=command.workflow_id,
            name=command.name,
            definition=command.definition,
            definition_version=command.definition_version,
            correlation_id=command.correlation_id,
            priority=command.priority,
            parent_id=command.parent_id,
            parent_task_id=command.parent_task_id,
            depth=command.depth,
            task_to_domain=command.task_to_domain,
        )
        labels = {run.label for run in self.runs.values()}
        numbered = (f"{command.name}~{number}" for number in range(2, 1_000))
        label = next(name for name in (command.name, *numbered) if name not in labels)
        return Run(Execution(workflow, graph, input=command.input), label)

    def _answer(self, need: Any) -> Any:
        match need:
            case NeedDefinition(name=name, version=version, inline=inline):
                if inline:
                    self.define(json.loads(inline))
                graph = self.graph(name, 0 if inline else version)
                if graph is None:
                    return Failure(f"no definition {name!r} of version {version or 'latest'}")
                return PinnedDefinition(graph.digest, graph.definition.version)
            case NeedGraph(definition=digest):
                name, _, number = digest.rpartition("@")
                return self.graph(name, int(number))
            case NeedDomain(queue=queue):
                return queue in self.domains
            case NeedTaskDefs(names=names):
                return {name: self.task_defs[name] for name in names if name in self.task_defs}
            case NeedJq(program=program):
                if program in self.scripts:
                    return Payload.of(self.scripts[program])
                return Failure("the program failed")
            case NeedScript(source=source):
                # Line ends are not for one-line commands.
                found = self.scripts.get(source, self.scripts.get(" ".join(source.split())))
                if found is not None:
                    return Payload.of(found)
                is_late = source in self.late
                return Failure("too long" if is_late else "the script threw an error", is_late)
        raise AssertionError(f"the driver loads everything: {need!r}")

    def _commit(self, run: Run, changes: Sequence[Change]) -> None:
        leases = run.execution.leases
        for change in changes:
            match change:
                case Enqueue(task_id=task_id):
                    assert task_id not in run.queued, "a task is queued once"
                    run.queued[task_id] = change
                case Release(task_id=task_id, poll_count=poll_count):
                    lease = leases.get(task_id)
                    assert (lease.poll_count if lease else 0) == poll_count, "a known lease"
                    if lease and change.expired_at_ms is not None:
                        assert lease.expires_at_ms <= change.expired_at_ms, "has run out"
                    run.queued.pop(task_id, None)
                case SetTimer():
                    run.timers[change.task_id, change.kind] = change.due_at_ms
                case ClearTimer():
                    run.timers.pop((change.task_id, change.kind), None)
                case Send(command=command):
                    self.sends.append(command)
                case RemoveWorkflow():
                    del self.runs[run.execution.workflow.workflow_id]
                    return
                case PutLease():
                    raise AssertionError("only the committer makes leases")
                case _:
                    pass
        apply(run.execution, changes, now_ms=self.now_ms)
        version = run.execution.workflow.version
        run.entries.append((version, self.now_ms, entry_document(changes)))
        check_run(run.execution, run.queued, run.timers, run.entries)

    def _next_due(self) -> tuple[int, Command] | None:
        due: list[tuple[int, Command]] = []
        for run in self.runs.values():
            workflow_id = run.execution.workflow.workflow_id
            for (task_id, kind), due_at_ms in run.timers.items():
                fire = FireTimer(
                    workflow_id=workflow_id, task_id=task_id, kind=kind, due_at_ms=due_at_ms
                )
                due.append((due_at_ms, fire))
            for lease in run.execution.leases.values():
                expire = ExpireLease(
                    workflow_id=workflow_id, task_id=lease.task_id, poll_count=lease.poll_count
                )
                due.append((lease.expires_at_ms, expire))
        return min(due, key=lambda found: found[0], default=None)


def expand(document: dict[str, Any]) -> dict[str, Any]:
    """Return a definition written short in full.

    ``ref`` stands for taskReferenceName and ``in`` for inputParameters; a task without a name is
    named as its reference; a workflow without a name is ``main``.
    """
    full = _expand(document)
    assert isinstance(full, dict), "a definition is an object"
    return {"name": "main", **full}


def _expand(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "ref" not in value:
        return {key: _expand(item) for key, item in value.items()}
    task = {key: _expand(item) for key, item in value.items() if key not in {"ref", "in"}}
    given = {"inputParameters": value["in"]} if "in" in value else {}
    return {"name": value["ref"], "taskReferenceName": value["ref"], **given, **task}
