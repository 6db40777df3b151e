"""Runs in memory with a time of their own: what committer, store and timers do together.

The decisions are the engine's (``core.decide``); a commit is ``core.apply``. Time does not pass,
it is put on to what is due next, so that a wait of a week takes no longer than one of a second.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from batuta.core.apply import apply
from batuta.core.decide import decide
from batuta.core.execution import CONTAINER_TYPES, Execution
from batuta.model.change import (
    Answers,
    Change,
    ClearTimer,
    Enqueue,
    Needs,
    PutTask,
    Release,
    RemoveWorkflow,
    Send,
    SetTimer,
)
from batuta.model.command import Command, ExpireLease, FireTimer, StartWorkflow
from batuta.model.error import InvalidError
from batuta.model.execution import TaskStatus
from batuta.runtime.commit.batch import new_execution
from batuta.runtime.commit.flight import lease_of
from batuta.runtime.fetch import Fetcher

STEPS_MAX = 10_000  # commands of one rehearsal; half of what Conductor's looks at its run take
BYTES_MAX = 64_000_000  # of all its runs; four rehearsals at once take a quarter of a GB then
NEEDS_ROUNDS_MAX = 16  # fetches of one command; as the committer's


class Poll(msgspec.Struct, frozen=True):
    """A worker takes a task at some instant."""

    workflow_id: str
    task_id: str


class StagedRun:
    """One run, and the rows that a store keeps beside its records."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.offered: dict[str, Enqueue] = {}
        self.timers: dict[tuple[str, str], int] = {}


class Stage:
    """All runs of a rehearsal, what is due when, and what has come up.

    ``sends`` and ``opened`` are for the caller to empty: commands that runs sent each other,
    and tasks that somebody has to do (workflow id, task id).
    """

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        now_ms: int,
        seeds: Callable[[], bytes],
        environment: Mapping[str, str],
    ) -> None:
        self.now_ms = now_ms
        self.runs: dict[str, StagedRun] = {}
        self.sends: deque[Command] = deque()
        self.opened: deque[tuple[str, str]] = deque()
        self._fetcher = fetcher
        self._seeds = seeds
        self._environment = environment
        self._due: list[tuple[int, int, Command | Poll]] = []
        self._numbers = itertools.count()
        self._steps = 0
        self._size_bytes = 0

    def at(self, at_ms: int, what: Command | Poll) -> None:
        """Have something happen at an instant, after what is to happen then already."""
        heapq.heappush(self._due, (at_ms, next(self._numbers), what))

    async def start(self, command: StartWorkflow) -> Execution:
        """Begin a run; the new run's execution moves on with every command."""
        graph = await self._fetcher.definitions.graph(command.definition)
        run = StagedRun(new_execution(command, graph))
        self.runs[command.workflow_id] = run
        await self.submit(command)
        return run.execution

    async def step(self) -> Command | Poll | None:
        """Put the time on to what is due next, do it, and return it; None when nothing is due."""
        while self._due:
            at_ms, _, what = heapq.heappop(self._due)
            if isinstance(what, FireTimer) and not self._is_set(what):
                continue
            self.now_ms = max(self.now_ms, at_ms)
            if isinstance(what, Poll):
                self._poll(what)
            else:
                await self.submit(what)
            return what
        return None

    async def submit(self, command: Command) -> None:
        """Decide and commit a command; one for a run that is not here is dropped.

        Raises:
            InvalidError: The rehearsal takes too much.
        """
        run = self.runs.get(command.workflow_id)
        if run is None:
            return
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise InvalidError(f"the test takes more than {STEPS_MAX} steps; does it ever end?")
        before_bytes = run.execution.size_bytes
        self._commit(run, await self._decide(run.execution, command))
        self._size_bytes += run.execution.size_bytes - before_bytes
        if self._size_bytes > BYTES_MAX:
            raise InvalidError(f"the test holds more than {BYTES_MAX} bytes; test with less data")

    async def _decide(self, execution: Execution, command: Command) -> Sequence[Change]:
        answers: Answers = {}
        seed = self._seeds()
        for _ in range(NEEDS_ROUNDS_MAX):
            found = decide(
                execution,
                command,
                now_ms=self.now_ms,
                seed=seed,
                answers=answers,
                environment=self._environment,
            )
            if not isinstance(found, Needs):
                return found
            if not self._fetcher.answer_now(found, answers):
                await self._fetcher.fetch(found, answers, execution)
        raise InvalidError(f"one step needed more than {NEEDS_ROUNDS_MAX} rounds of answers")

    def _commit(self, run: StagedRun, changes: Sequence[Change]) -> None:
        if not changes:
            return
        workflow_id = run.execution.workflow.workflow_id
        for change in changes:
            match change:
                case PutTask(task=task):
                    is_open = task.status is TaskStatus.IN_PROGRESS and task.child_id is None
                    if is_open and task.task_type not in CONTAINER_TYPES:
                        self.opened.append((workflow_id, task.task_id))
                case Enqueue(task_id=task_id):
                    run.offered[task_id] = change
                    self.opened.append((workflow_id, task_id))
                case Release(task_id=task_id):
                    run.offered.pop(task_id, None)
                case SetTimer(task_id=task_id, kind=kind, due_at_ms=due_at_ms):
                    run.timers[task_id, kind] = due_at_ms
                    fire = FireTimer(
                        workflow_id=workflow_id, task_id=task_id, kind=kind, due_at_ms=due_at_ms
                    )
                    self.at(due_at_ms, fire)
                case ClearTimer(task_id=task_id, kind=kind):
                    run.timers.pop((task_id, kind), None)
                case Send(command=command):
                    self.sends.append(command)
                case RemoveWorkflow():
                    raise AssertionError("nobody removes a run of a rehearsal")
                case _:  # logs and the journal are not shown, and records are apply's
                    pass
        apply(run.execution, changes, now_ms=self.now_ms)

    def _is_set(self, fire: FireTimer) -> bool:
        """Say whether a timer is still to fire then, and take it off."""
        run = self.runs[fire.workflow_id]
        key = (fire.task_id, fire.kind)
        if run.timers.get(key) != fire.due_at_ms:
            return False
        del run.timers[key]
        return True

    def _poll(self, poll: Poll) -> None:
        """Put a task into a worker's hands, unless it is offered no more."""
        run = self.runs[poll.workflow_id]
        enqueue = run.offered.pop(poll.task_id, None)
        if enqueue is None:
            return
        lease = lease_of(enqueue, workflow_id=poll.workflow_id, worker_id=None, now_ms=self.now_ms)
        run.execution.leases[poll.task_id] = lease
        expire = ExpireLease(
            workflow_id=poll.workflow_id, task_id=poll.task_id, poll_count=lease.poll_count
        )
        self.at(lease.expires_at_ms, expire)
