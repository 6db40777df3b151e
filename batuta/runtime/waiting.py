"""Waiting for a run to get somewhere: its end, a WAIT that nobody has answered, a named task.

Theory of operation. A waiter looks at the run and at its running sub-workflows as committed,
and again whenever one of them is committed by this node (a hint), and once a second, which is
what finds the commits of other nodes. Nothing is stored for it; it is gone with its caller.
Source: semantics.md j.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from batuta.core.execution import Execution
from batuta.core.graph import inner_lists
from batuta.model.definition import WorkflowDef, WorkflowTask
from batuta.model.error import BusyError, Fault, InvalidError, NotFoundError
from batuta.model.execution import Task, TaskStatus
from batuta.runtime.commit.batch import Share
from batuta.runtime.commit.committer import Committer

WAITERS_MAX = 1_000  # callers that one node keeps waiting; each costs a connection and 10 kB
WAIT_S_MAX = 600  # of one call; proxies give up sooner
LOOK_AGAIN_S = 1.0  # without a hint; the bound when all hints are lost
RUNS_MAX = 1_000  # sub-workflows that one look goes through

# Their tasks and names are known only when the run comes to them.
_OPEN_ENDED = frozenset({"SUB_WORKFLOW", "FORK_JOIN_DYNAMIC", "DYNAMIC"})


class Outcome(msgspec.Struct, frozen=True):
    """Where a run got to: the blocking task and its run, if one blocks."""

    workflow_id: str
    task_id: str | None = None
    is_late: bool = False  # the time was over first


class Waiter:
    """One caller that waits; ``hint`` is set when it should look again."""

    __slots__ = ("hint", "watched")

    def __init__(self) -> None:
        self.hint = asyncio.Event()
        self.watched: set[str] = set()


class Waiting:
    """The callers that wait at this node."""

    def __init__(self, committer: Committer, listeners: list[Callable[[Share], None]]) -> None:
        self._committer = committer
        self._waiters: set[Waiter] = set()
        self._by_run: dict[str, set[Waiter]] = {}
        self._is_released = False
        listeners.append(self._on_commit)

    def __len__(self) -> int:
        return len(self._waiters)

    @contextmanager
    def waiter(self) -> Iterator[Waiter]:
        """Give a place to wait, before anything is started for it.

        Raises:
            BusyError: All places are taken.
        """
        if len(self._waiters) >= WAITERS_MAX:
            raise BusyError(f"{WAITERS_MAX} callers are waiting at this server; try again later")
        waiter = Waiter()
        self._waiters.add(waiter)
        try:
            yield waiter
        finally:
            self._waiters.discard(waiter)
            for workflow_id in waiter.watched:
                others = self._by_run[workflow_id]
                others.discard(waiter)
                if not others:
                    del self._by_run[workflow_id]

    def release_all(self) -> None:
        """Answer everybody with where their run is now: the server stops."""
        self._is_released = True
        for waiter in self._waiters:
            waiter.hint.set()

    async def until_blocked(
        self, waiter: Waiter, workflow_id: str, *, names: Sequence[str] = (), wait_s: float
    ) -> Outcome:
        """Wait until a run has ended, a WAIT without a time blocks it, or a named task has ended.

        The tasks of running sub-workflows count too.

        Raises:
            NotFoundError: No such run, or it was removed meanwhile.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            waiter.hint.clear()
            found = await self._look(waiter, workflow_id, names)
            left_s = until - loop.time()
            if found is not None:
                return found
            if left_s <= 0 or self._is_released:
                return Outcome(workflow_id, is_late=True)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(waiter.hint.wait(), min(left_s, LOOK_AGAIN_S))

    async def open_wait(self, workflow_id: str) -> tuple[str, str] | None:
        """Return the run and id of the first open WAIT of a run or its running sub-workflows.

        Raises:
            NotFoundError: No such run.
        """
        async for execution in self._tree(workflow_id, None):
            for task in execution.live_tasks():
                if task.task_type == "WAIT":
                    return execution.workflow.workflow_id, task.task_id
        return None

    async def _look(self, waiter: Waiter, workflow_id: str, names: Sequence[str]) -> Outcome | None:
        async for execution in self._tree(workflow_id, waiter):
            blocker = _blocker(execution, names)
            if blocker is not None:
                return Outcome(execution.workflow.workflow_id, blocker.task_id)
            is_root = execution.workflow.workflow_id == workflow_id
            if is_root and execution.workflow.status.is_terminal:
                return Outcome(workflow_id)
        return None

    async def _tree(self, workflow_id: str, waiter: Waiter | None) -> AsyncIterator[Execution]:
        """Yield a run and its running sub-workflows, depth first, each as committed."""
        waiting = [workflow_id]
        for _ in range(RUNS_MAX):
            if not waiting:
                return
            current = waiting.pop()
            if waiter is not None:
                self._watch(waiter, current)  # before it is read: nothing is missed in between
            try:
                execution = await self._committer.committed(current)
            except NotFoundError:
                if current == workflow_id:
                    raise
                continue  # a child whose start is on its way, or that was removed
            yield execution
            children = [task.child_id for task in execution.live_tasks() if task.child_id]
            waiting.extend(reversed(children))

    def _watch(self, waiter: Waiter, workflow_id: str) -> None:
        waiter.watched.add(workflow_id)
        self._by_run.setdefault(workflow_id, set()).add(waiter)

    def _on_commit(self, share: Share) -> None:
        for waiter in self._by_run.get(share.execution.workflow.workflow_id, ()):
            waiter.hint.set()


def check_names(definition: WorkflowDef, names: Sequence[str]) -> None:
    """Refuse names of tasks that no run of a definition can have: a wait for them never ends.

    Raises:
        InvalidError: As said; the names it has are given.
    """
    tasks: list[WorkflowTask] = list(definition.tasks)
    for task in tasks:  # grows while it is walked
        for inner in inner_lists(task):
            tasks.extend(inner)
    known = [task.task_reference_name for task in tasks]
    missing = [name for name in names if name not in known]
    if missing and not any(task.type in _OPEN_ENDED for task in tasks):
        message = f"{definition.name!r} has no task {missing[0]!r}; it has {', '.join(known)}"
        raise InvalidError(
            f"waitUntilTaskRef: {message}", [Fault("waitUntilTaskRef", message, missing[0])]
        )


def _blocker(execution: Execution, names: Sequence[str]) -> Task | None:
    """Return the task that a caller waits for in a run: an open WAIT, else a named one's end."""
    for task in execution.live_tasks():
        is_waiting = task.task_type == "WAIT" and task.status is TaskStatus.IN_PROGRESS
        if is_waiting and not task.due_at_ms:
            return task
    for name in names:
        seq = execution.latest.get(name) or execution.latest_of_node.get(name)
        named: Task | None = None if seq is None else execution.tasks[seq]
        if named is not None and named.status.is_terminal:
            return named
    return None
