"""What stands in for workers in a rehearsal: for each reference name, its results in order."""

from collections import deque
from collections.abc import Mapping

import msgspec

from batuta.model.definition import WorkflowDef
from batuta.model.error import Fault, InvalidError
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import EMPTY, Payload

MISSING_SHOWN_MAX = 5  # tasks without a mock that the message names; the faults name all


class Mock(msgspec.Struct, frozen=True, kw_only=True):
    """One result: how long the task waits in its queue, how long it takes, and how it ends."""

    status: TaskStatus = TaskStatus.COMPLETED
    output: Payload = EMPTY
    queue_wait_ms: int = 0
    execution_ms: int = 0


class Mocks(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a run, and those of its sub-workflows by their task's reference name.

    An empty tuple leaves a task open. ``definition``: of the run, in place of a registered one.
    """

    results: Mapping[str, tuple[Mock, ...]] = {}
    children: "Mapping[str, Mocks]" = {}
    definition: WorkflowDef | None = None


class Part:
    """The mocks of one run that are left, shared by all attempts at a sub-workflow's task.

    In a loop the name with the number of its pass (``a__2``) goes before the one without.
    """

    def __init__(self, mocks: Mocks, path: str = "", missing: list[Fault] | None = None) -> None:
        self._mocks = mocks
        self._path = path
        self._left = {name: deque(results) for name, results in mocks.results.items()}
        self._children: dict[str, Part] = {}
        self._missing: list[Fault] = [] if missing is None else missing

    def has(self, task: Task) -> bool:
        """Say whether a task's results are given, be it none of them."""
        return _key(task, self._left) is not None

    def take(self, task: Task) -> Mock | None:
        """Return the next result of a task; None for one that stays open, or has none.

        One that has none is noted for ``check``.
        """
        key = _key(task, self._left)
        if key is None:
            self._miss(task, task.reference_name, "has no mock; give one, or [] to leave it open")
            return None
        if self._left[key]:
            return self._left[key].popleft()
        given = len(self._mocks.results[key])
        if given:
            results = "result" if given == 1 else "results"
            self._miss(task, key, f"needs another result: the {given} {results} given are used up")
        return None

    def child(self, task: Task) -> "Part":
        """Return the mocks of the sub-workflow that a task starts."""
        key = _key(task, self._mocks.children) or task.node_name
        if key not in self._children:
            mocks = self._mocks.children.get(key) or Mocks()
            path = f"{self._path}subWorkflowTestRequest.{key}."
            self._children[key] = Part(mocks, path, self._missing)
        return self._children[key]

    def check(self) -> None:
        """Refuse to go on without a result that is needed, here or in a sub-workflow.

        Raises:
            InvalidError: With a fault for each task that was reached and has none.
        """
        faults = self._missing
        if not faults:
            return
        shown = "; ".join(fault.message for fault in faults[:MISSING_SHOWN_MAX])
        more = len(faults) - MISSING_SHOWN_MAX
        raise InvalidError(shown + (f"; and {more} more" if more > 0 else ""), faults)

    def _miss(self, task: Task, key: str, what: str) -> None:
        path = f"{self._path}taskRefToMockOutput.{key}"
        attempt = f" (attempt {task.retry_count + 1})" if task.retry_count else ""
        message = f"task {task.reference_name!r} of type {task.task_type!r}{attempt} {what}"
        self._missing.append(Fault(path, message))


def _key(task: Task, given: Mapping[str, object]) -> str | None:
    """Return the name under which something is given for a task; None when nothing is."""
    names = (task.reference_name, task.node_name)
    return next((name for name in names if name in given), None)
