"""A run in memory: its records and the indexes derived from them.

Theory of operation. ``Execution`` keeps one table of tasks and a handful of indexes that every
``put`` brings up to date in time that does not depend on the number of tasks, so that a
completion in a run of 10,000 tasks costs what it costs in a run of 100. All of them live in
maps; ``fork`` answers an execution whose maps are layers over these, so that ``decide`` can try
its changes out without touching the original. ``apply`` then puts the same records into the
original. A property test holds every index against a fresh load.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from batuta.core.graph import Graph
from batuta.model.execution import Lease, Task, TaskStatus, Workflow
from batuta.model.payload import EMPTY, Payload

K = TypeVar("K")
V = TypeVar("V")

RUN_BYTES = 2_500  # a run without tasks in memory, measured with tracemalloc
TASK_BYTES = 1_100  # a task's header and its index entries, likewise; payloads come on top

_GONE: Any = object()

# Types that wait for other tasks of the same run: alone they can never move it, but for a DAG
# that waits for the delay of an edge.
CONTAINER_TYPES = frozenset({"JOIN", "EXCLUSIVE_JOIN", "DO_WHILE", "DAG"})


class Layer(Generic[K, V]):
    """A map laid over another: reads fall through, writes stay here."""

    __slots__ = ("_base", "_own")

    def __init__(self, base: "dict[K, V] | Layer[K, V]") -> None:
        self._base = base
        self._own: dict[K, V] = {}

    def get(self, key: K, default: Any = None) -> Any:
        """Return the value here, else below, else ``default``."""
        own = self._own
        if key in own:
            value = own[key]
            return default if value is _GONE else value
        return self._base.get(key, default)

    def __getitem__(self, key: K) -> V:
        own = self._own
        if key not in own:
            return self._base[key]
        value = own[key]
        if value is _GONE:
            raise KeyError(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self._own[key] = value

    def pop(self, key: K, default: Any = None) -> Any:
        """Hide the key, here and below; return what it was."""
        value = self.get(key, default)
        self._own[key] = _GONE
        return value

    def __iter__(self) -> Iterator[K]:
        for key in self._base:
            if key not in self._own:
                yield key
        for key, value in self._own.items():
            if value is not _GONE:
                yield key

    def __contains__(self, key: K) -> bool:
        return self.get(key, _GONE) is not _GONE


class Execution:
    """One run: header, payloads, tasks, leases, and what can be derived from them.

    ``latest``: by full reference name, the seq of its newest attempt.
    ``latest_of_node``: the same by the definition's name (in a loop, the newest iteration).
    ``live``: seqs of the tasks that are not terminal.
    ``unexecuted``: seqs of the terminal tasks whose followers have not been computed; in a run
        that is settled and RUNNING there are none.
    ``waiting``: by full reference name, the seqs of the JOINs that wait for it.
    ``unsettled``: by JOIN seq, how many of its references have not ended yet.
    ``loop_live``: by full name of a DO_WHILE or DAG, how many live tasks it has inside.
    """

    __slots__ = (
        "active_count",
        "by_id",
        "graph",
        "input",
        "inputs",
        "is_removed",
        "latest",
        "latest_of_node",
        "leases",
        "live",
        "live_count",
        "loop_live",
        "output",
        "outputs",
        "seq_last",
        "size_bytes",
        "tasks",
        "unexecuted",
        "unsettled",
        "variables",
        "waiting",
        "workflow",
    )

    def __init__(
        self,
        workflow: Workflow,
        graph: Graph,
        *,
        input: Payload = EMPTY,  # noqa: A002  Conductor's word
        output: Payload | None = None,
        variables: Payload = EMPTY,
    ) -> None:
        self.workflow = workflow
        self.graph = graph
        self.input = input
        self.output = output
        self.variables = variables
        self.tasks: Any = {}
        self.inputs: Any = {}
        self.outputs: Any = {}
        self.by_id: Any = {}
        self.latest: Any = {}
        self.latest_of_node: Any = {}
        self.live: Any = {}
        self.unexecuted: Any = {}
        self.waiting: Any = {}
        self.unsettled: Any = {}
        self.loop_live: Any = {}
        self.leases: dict[str, Lease] = {}
        self.live_count = 0
        self.active_count = 0
        self.seq_last = workflow.seq_last
        self.size_bytes = RUN_BYTES + input.size_bytes + variables.size_bytes
        self.size_bytes += output.size_bytes if output else 0
        self.is_removed = False  # nothing more is decided on it

    def fork(self) -> "Execution":
        """Return a copy in O(1) whose changes do not show here. Leases are shared, read-only."""
        copy = Execution.__new__(Execution)
        copy.workflow = self.workflow
        copy.graph = self.graph
        copy.input = self.input
        copy.output = self.output
        copy.variables = self.variables
        copy.tasks = Layer(self.tasks)
        copy.inputs = Layer(self.inputs)
        copy.outputs = Layer(self.outputs)
        copy.by_id = Layer(self.by_id)
        copy.latest = Layer(self.latest)
        copy.latest_of_node = Layer(self.latest_of_node)
        copy.live = Layer(self.live)
        copy.unexecuted = Layer(self.unexecuted)
        copy.waiting = Layer(self.waiting)
        copy.unsettled = Layer(self.unsettled)
        copy.loop_live = Layer(self.loop_live)
        copy.leases = self.leases
        copy.live_count = self.live_count
        copy.active_count = self.active_count
        copy.seq_last = self.seq_last
        copy.size_bytes = self.size_bytes
        copy.is_removed = self.is_removed
        return copy

    def task(self, task_id: str) -> Task | None:
        """Return the task with this id, or None when the run has none (or retired it)."""
        seq = self.by_id.get(task_id)
        found: Task | None = None if seq is None else self.tasks.get(seq)
        return found

    def latest_task(self, reference_name: str) -> Task | None:
        """Return the newest attempt of a full reference name, or None."""
        seq = self.latest.get(reference_name)
        found: Task | None = None if seq is None else self.tasks.get(seq)
        return found

    def put(
        self,
        task: Task,
        input: Payload | None = None,  # noqa: A002  Conductor's word
        output: Payload | None = None,
    ) -> None:
        """Insert or replace a task and bring every index up to date. O(1), a JOIN O(branches)."""
        seq, name = task.seq, task.reference_name
        before: Task | None = self.tasks.get(seq)
        self.tasks[seq] = task
        if input is not None:
            self._keep(self.inputs, seq, input)
        if output is not None:
            self._keep(self.outputs, seq, output)
        is_open = not task.status.is_terminal
        if before is None:
            self._insert(task, is_open=is_open)
            return
        if not is_open:
            if _has_more(task):
                self.unexecuted[seq] = True
            elif before.status.is_terminal:
                self.unexecuted.pop(seq, None)
        if before.status.is_terminal is not is_open:
            # Open as before, or ended as before: no index tells them apart, but for a skipped
            # task, which counts as ended from when the run has come to it.
            has_changed = before.is_executed is not task.is_executed
            if task.status is TaskStatus.SKIPPED and has_changed and self.latest.get(name) == seq:
                self._settle(name, is_settled=task.is_executed)
            return
        if is_open:
            self.unexecuted.pop(seq, None)
        self._count(task, is_open=is_open)
        if task.join_on:
            self._watch(task, is_open=is_open)
        if self.latest.get(name) == seq:
            self._settle(name, is_settled=not is_open)

    def _insert(self, task: Task, *, is_open: bool) -> None:
        """Bring the indexes up to date for a task that is new here; it is in ``tasks``."""
        seq, name = task.seq, task.reference_name
        attempt_before: int | None = self.latest.get(name)
        was_settled = attempt_before is not None and _has_ended(self.tasks[attempt_before])
        self.by_id[task.task_id] = seq
        self.latest[name] = seq
        self.latest_of_node[task.node or name] = seq
        self.size_bytes += TASK_BYTES
        self.seq_last = max(self.seq_last, seq)
        if is_open:
            self._count(task, is_open=True)
            if task.join_on:
                self._watch(task, is_open=True)
        elif _has_more(task):
            self.unexecuted[seq] = True
        is_settled = _has_ended(task)
        if was_settled is not is_settled:
            self._settle(name, is_settled=is_settled)

    def retire(self, seq: int) -> None:
        """Forget a task. Its reference name falls back to the attempt before, if there is one.

        Of several attempts that go the newest goes first, else those before are not found.
        O(1), but O(tasks) where it is the newest of a node in a loop.
        """
        task: Task | None = self.tasks.get(seq)
        if task is None:
            return
        name, node = task.reference_name, task.node_name
        was_settled = self._is_settled(name)
        self.tasks.pop(seq)
        self.size_bytes -= TASK_BYTES
        for payloads in (self.inputs, self.outputs):
            found: Payload | None = payloads.pop(seq, None)
            self.size_bytes -= found.size_bytes if found else 0
        self.by_id.pop(task.task_id, None)
        self.unexecuted.pop(seq, None)
        if not task.status.is_terminal:
            self._count(task, is_open=False)
            if task.join_on:
                self._watch(task, is_open=False)
        if self.latest.get(name) == seq:
            self._fall_back(self.latest, name, self.by_id.get(task.retried_task_id))
        if self.latest_of_node.get(node) == seq:
            newest: int | None = self.latest.get(name)
            if task.node:
                others = [other.seq for other in self._all() if other.node_name == node]
                newest = max(others, default=None)
            self._fall_back(self.latest_of_node, node, newest)
        is_settled = self._is_settled(name)
        if was_settled is not is_settled:
            self._settle(name, is_settled=is_settled)

    def in_order(self) -> list[Task]:
        """Return all tasks, oldest first."""
        return sorted(self._all(), key=lambda task: task.seq)

    def live_tasks(self) -> list[Task]:
        """Return the tasks that are not terminal, oldest first."""
        return [self.tasks[seq] for seq in sorted(self.live)]

    def _keep(self, payloads: Any, seq: int, payload: Payload) -> None:
        before: Payload | None = payloads.get(seq)
        payloads[seq] = payload
        self.size_bytes += payload.size_bytes - (before.size_bytes if before else 0)

    def _all(self) -> list[Task]:
        return [self.tasks[seq] for seq in self.tasks]

    @staticmethod
    def _fall_back(index: Any, key: str, seq: int | None) -> None:
        if seq is None:
            index.pop(key, None)
        else:
            index[key] = seq

    def _is_settled(self, reference_name: str) -> bool:
        seq = self.latest.get(reference_name)
        return seq is not None and _has_ended(self.tasks[seq])

    def _count(self, task: Task, *, is_open: bool) -> None:
        step = 1 if is_open else -1
        if is_open:
            self.live[task.seq] = True
        else:
            self.live.pop(task.seq, None)
        self.live_count += step
        if task.task_type not in CONTAINER_TYPES:
            self.active_count += step
        for holder in self.graph.holders_of(task):
            self.loop_live[holder] = self.loop_live.get(holder, 0) + step

    def _settle(self, reference_name: str, *, is_settled: bool) -> None:
        """Tell the JOINs that wait for a reference name that it has ended, or is open again."""
        step = -1 if is_settled else 1
        for join in self.waiting.get(reference_name, ()):
            self.unsettled[join] += step

    def _watch(self, join: Task, *, is_open: bool) -> None:
        """Begin or stop to count the open branches of a JOIN; a name given twice counts once."""
        names = dict.fromkeys(join.join_on)
        alone = (join.seq,)
        for name in names:
            known = self.waiting.get(name, ())
            # Mostly no other JOIN waits for the same; a wide fork has many names.
            others = known and known != alone and tuple(seq for seq in known if seq != join.seq)
            if is_open and not others:
                self.waiting[name] = alone
            elif is_open:
                self.waiting[name] = (*others, join.seq)
            elif others:
                self.waiting[name] = others
            else:
                self.waiting.pop(name)
        if is_open:
            self.unsettled[join.seq] = sum(not self._is_settled(name) for name in names)
        else:
            self.unsettled.pop(join.seq)


def _has_ended(task: Task) -> bool:
    """Say whether a task holds up nobody: it has ended, and if it was skipped, in its turn."""
    return task.status.is_terminal and (task.is_executed or task.status is not TaskStatus.SKIPPED)


def _has_more(task: Task) -> bool:
    """Say whether what follows an ended task is yet to be computed; a skipped one has its turn."""
    is_done = task.is_executed or task.is_retried
    return not is_done and task.status is not TaskStatus.SKIPPED
