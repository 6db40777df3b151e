"""A decision in the making: what it has read, changed and asked for so far.

The draft works on a fork of the execution, so a decision sees its own changes while the
original stays as it was; asked for something it lacks, it goes on with nothing in its place,
and the whole draft is thrown away at the end (``Needs``). Records are merged: one Put for each.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from batuta.core.execution import Execution
from batuta.core.graph import Graph, Node
from batuta.core.identity import uuid7
from batuta.core.limits.policy import Policy
from batuta.core.limits.timers import kinds_of
from batuta.model.change import (
    AddLog,
    Answers,
    Change,
    ClearTimer,
    DropSend,
    Enqueue,
    Need,
    Needs,
    Publish,
    PutTask,
    PutWorkflow,
    Release,
    RemoveWorkflow,
    Reserve,
    RetireTask,
    Send,
    SetTimer,
)
from batuta.model.command import Command, TimerKind
from batuta.model.execution import Task, TaskStatus, Workflow
from batuta.model.limit import part_name
from batuta.model.payload import Payload


class _TaskPut:
    """The latest form of a task in this decision, and what differs from the original."""

    __slots__ = ("changed", "input", "output", "task")

    def __init__(self, task: Task, changed: dict[str, Any] | None) -> None:
        self.task = task
        self.changed = changed
        self.input: Payload | None = None
        self.output: Payload | None = None


class Draft:
    """Collects the changes of one command; see the module's docstring."""

    __slots__ = (
        "_enqueued",
        "_graph",
        "_id_count",
        "_other",
        "_released",
        "_seed",
        "_task_puts",
        "_timers",
        "_workflow_changed",
        "_workflow_input",
        "_workflow_is_new",
        "_workflow_output",
        "_workflow_variables",
        "agenda",
        "answers",
        "checks",
        "environment",
        "execution",
        "now_ms",
        "steps",
        "used",
        "wanted",
    )

    def __init__(
        self,
        execution: Execution,
        *,
        now_ms: int,
        seed: bytes,
        answers: Answers,
        environment: Mapping[str, str],
    ) -> None:
        self.execution = execution.fork()
        self.now_ms = now_ms
        self.answers = answers
        self.environment = environment
        self.agenda: deque[int] = deque()  # seqs of ended tasks whose followers are due
        self.checks: dict[int, None] = {}  # JOINs and loops to look at when the agenda is empty
        self.steps = 0
        self.wanted: list[Need] = []
        self.used: dict[Need, None] = {}  # what this decision was answered
        self._seed = int.from_bytes(seed, "big")
        self._id_count = 0
        self._task_puts: dict[int, _TaskPut] = {}
        self._workflow_changed: dict[str, Any] = {}
        self._workflow_is_new = execution.workflow.version == 0
        self._workflow_input: Payload | None = None
        self._workflow_output: Payload | None = None
        self._workflow_variables: Payload | None = None
        self._enqueued: dict[str, Enqueue] = {}
        self._released: dict[str, Release] = {}
        self._timers: dict[tuple[str, TimerKind], SetTimer | ClearTimer] = {}
        self._other: list[Change] = []
        self._graph: Graph | None = None

    @property
    def workflow(self) -> Workflow:
        """The run's header as decided so far."""
        return self.execution.workflow

    def new_id(self) -> str:
        """Return the next id; the same decision made again gives the same ids."""
        self._id_count += 1
        return uuid7(self.now_ms, self._seed, self._id_count)

    def jitter_ms(self, jitter_ms_max: int) -> int:
        """Return 0 to ``jitter_ms_max``, evenly, from the seed."""
        return self._seed % (jitter_ms_max + 1) if jitter_ms_max > 0 else 0

    def answer(self, need: Need) -> Any:
        """Return what was fetched for ``need``; None, and note it as wanted, if nothing was."""
        found = self.answers.get(need)
        if found is None:
            self.wanted.append(need)
        else:
            self.used[need] = None
        return found

    def put_workflow(
        self,
        *,
        input: Payload | None = None,  # noqa: A002  Conductor's word
        output: Payload | None = None,
        variables: Payload | None = None,
        **changed: Any,
    ) -> None:
        """Change the run's header, or its payloads."""
        execution = self.execution
        if changed:
            execution.workflow = replace(execution.workflow, **changed)
            self._workflow_changed.update(changed)
        if input is not None:
            self._workflow_input = execution.input = input
        if output is not None:
            self._workflow_output = execution.output = output
        if variables is not None:
            self._workflow_variables = execution.variables = variables

    def use_graph(self, graph: Graph, version: int) -> None:
        """Go on by another definition from here on; no task of the one before may be left."""
        self._graph = self.execution.graph = graph
        self.put_workflow(definition=graph.digest, definition_version=version)

    def put(
        self,
        task: Task,
        *,
        input: Payload | None = None,  # noqa: A002  Conductor's word
        output: Payload | None = None,
        **changed: Any,
    ) -> Task:
        """Change a task, or its payloads; return it as it is now."""
        changed["updated_at_ms"] = self.now_ms
        task = replace(task, **changed)
        put = self._task_puts.get(task.seq)
        if put is None:
            put = self._task_puts[task.seq] = _TaskPut(task, changed)
        else:
            put.task = task
            if put.changed is not None:
                put.changed.update(changed)
        put.input = input or put.input
        put.output = output or put.output
        self.execution.put(task, input, output)
        return task

    def add(
        self, node: Node, suffix: str, task_input: Payload, *, task_type: str, **fields: Any
    ) -> Task:
        """Create the next task of the run: an attempt at ``node``, SCHEDULED unless given."""
        seq = self.execution.seq_last + 1
        name, own_name = node.reference_name, node.definition_name
        task = Task(
            seq=seq,
            reference_name=name + suffix,
            node=name if suffix else "",
            task_type=task_type,
            own_name="" if own_name == task_type else own_name,
            scheduled_at_ms=self.now_ms,
            updated_at_ms=self.now_ms,
            **fields,
        )
        put = self._task_puts[seq] = _TaskPut(task, None)
        put.input = task_input
        self.execution.put(task, task_input, None)
        return task

    def enqueue(self, task: Task, policy: Policy) -> None:
        """Offer the task to its queue's workers from now on."""
        assert task.queue is not None, "only worker tasks have a queue"
        self._enqueued[task.task_id] = Enqueue(
            task_id=task.task_id,
            seq=task.seq,
            queue=part_name(task.queue, policy.limit_key) if policy.limit_key else task.queue,
            at_ms=self.now_ms,
            priority=self.workflow.priority,
            lease_ms=policy.response_timeout_ms,
            timeout_ms=policy.lease_limit_ms,
            poll_count=task.poll_count,
            started_at_ms=task.started_at_ms,
        )

    def release(self, task: Task, *, expired_at_ms: int | None = None) -> Task:
        """Take the task out of its queue or its holder's hands.

        Returns:
            The task with what the lease knew (worker, poll count, first start) copied into it.
        """
        known = self._take_back(task, expired_at_ms)
        return self.put(task, **known) if known else task

    def set_timer(self, kind: TimerKind, due_at_ms: int, task: Task | None = None) -> None:
        """Have FireTimer submitted at ``due_at_ms``; replaces the timer of the same kind."""
        task_id = task.task_id if task else ""
        timer = SetTimer(task_id=task_id, kind=kind, due_at_ms=due_at_ms)
        self._timers[task_id, kind] = timer

    def clear_timer(self, kind: TimerKind, task: Task | None = None) -> None:
        """Remove a timer, which may not be there."""
        task_id = task.task_id if task else ""
        if task is not None and self._is_new(task):
            self._timers.pop((task_id, kind), None)
        else:
            self._timers[task_id, kind] = ClearTimer(task_id=task_id, kind=kind)

    def send(self, command: Command) -> None:
        """Give a command to another run, exactly once."""
        self._other.append(Send(command))

    def note(
        self, change: DropSend | AddLog | Reserve | RetireTask | RemoveWorkflow | Publish
    ) -> None:
        """Add a change that touches nothing the decision reads again, or a retirement."""
        if isinstance(change, RetireTask):
            self.execution.retire(change.seq)
            # A retired seq is not given again: the rows of history keep it.
            self.put_workflow(seq_last=self.execution.seq_last)
            put = self._task_puts.pop(change.seq, None)
            if put is not None and put.changed is None:
                return  # made by this very decision: no store knows it
        self._other.append(change)

    def end(
        self,
        task: Task,
        status: TaskStatus,
        *,
        output: Payload | None = None,
        expired_at_ms: int | None = None,
        **changed: Any,
    ) -> Task:
        """Bring a task to a terminal status and put it on the agenda; see ``close``."""
        self.agenda.append(task.seq)
        return self.close(task, status, output=output, expired_at_ms=expired_at_ms, **changed)

    def close(
        self,
        task: Task,
        status: TaskStatus,
        *,
        output: Payload | None = None,
        expired_at_ms: int | None = None,
        **changed: Any,
    ) -> Task:
        """Bring a task to a terminal status: no timer, queue row or lease of it is left.

        Args:
            expired_at_ms: The reason is that its lease has run out, by this time.
        """
        policy = self.execution.graph.node_of(task).policy
        if task.due_at_ms or policy.has_timers:
            for kind in kinds_of(task, policy):
                self.clear_timer(kind, task)
        if known := self._take_back(task, expired_at_ms):
            changed = {**known, **changed}
        return self.put(task, output=output, status=status, ended_at_ms=self.now_ms, **changed)

    def result(self) -> list[Change] | Needs:
        """Return the merged changes, or what is lacking."""
        if self.wanted:
            return Needs(tuple(dict.fromkeys(self.wanted)))
        changes: list[Change] = []
        if (
            self._workflow_is_new
            or self._workflow_changed
            or self._workflow_variables
            or self._workflow_output
        ):
            changes.append(
                PutWorkflow(
                    workflow=self.workflow,
                    changed=None if self._workflow_is_new else self._workflow_changed,
                    input=self._workflow_input,
                    output=self._workflow_output,
                    variables=self._workflow_variables,
                    graph=self._graph,
                )
            )
        changes.extend(
            PutTask(task=put.task, changed=put.changed, input=put.input, output=put.output)
            for put in self._task_puts.values()
        )
        changes.extend(self._released.values())
        changes.extend(self._timers.values())
        changes.extend(self._other)
        changes.extend(self._enqueued.values())
        return changes

    def _is_new(self, task: Task) -> bool:
        """Say whether the task was made by this decision, so that no store knows it."""
        put = self._task_puts.get(task.seq)
        return put is not None and put.changed is None

    def _take_back(self, task: Task, expired_at_ms: int | None) -> dict[str, Any]:
        """Take a worker task out of its queue or hands; return what its lease knew."""
        task_id = task.task_id
        if task.queue is None or self._enqueued.pop(task_id, None) is not None:
            return {}
        if task_id in self._released or self._is_new(task):
            return {}
        lease = self.execution.leases.get(task_id)
        poll_count = lease.poll_count if lease else 0
        self._released[task_id] = Release(
            task_id=task_id, poll_count=poll_count, expired_at_ms=expired_at_ms
        )
        if lease is None:
            return {}
        return {
            "worker_id": lease.worker_id,
            "poll_count": poll_count,
            "started_at_ms": lease.started_at_ms,
        }
