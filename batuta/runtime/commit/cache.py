"""Executions in memory, bounded in bytes; the store can always give them again."""

from collections import OrderedDict
from collections.abc import Container, Iterable

from batuta.core.apply import RUN_PAYLOADS, set_payload
from batuta.core.execution import Execution
from batuta.core.graph import Graph
from batuta.model.payload import EMPTY
from batuta.store.base import Loaded

CACHE_BYTES_MAX = 64 * 1024 * 1024  # the default; a run without large payloads is 4 - 20 kB

# Resident memory for what objects take of it: 195 MB with 127 MB of one-task runs. The bound is
# told in what an operator sees.
RESIDENT_PERCENT = 150


class Cache:
    """Least recently used runs go first; those in a batch are held and never go."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max * 100 // RESIDENT_PERCENT
        self._runs: OrderedDict[str, Execution] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._behind: dict[str, Execution] = {}  # as committed once; about to be read again
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, workflow_id: str) -> Execution | None:
        """Return a run and make it the most recently used one."""
        execution = self._runs.get(workflow_id)
        if execution is not None:
            self._runs.move_to_end(workflow_id)
        return execution

    def peek(self, workflow_id: str) -> Execution | None:
        """Return a run and leave the order of use as it is."""
        return self._runs.get(workflow_id)

    def put(self, execution: Execution) -> None:
        """Keep a run, or note its new size; forget one that was removed."""
        workflow_id = execution.workflow.workflow_id
        if execution.is_removed:
            self.drop(workflow_id)
            return
        self.size_bytes += execution.size_bytes - self._sizes.get(workflow_id, 0)
        self._sizes[workflow_id] = execution.size_bytes
        self._runs[workflow_id] = execution
        self._runs.move_to_end(workflow_id)

    def drop(self, workflow_id: str) -> None:
        """Forget a run; it is loaded again when it is wanted."""
        if self._runs.pop(workflow_id, None) is not None:
            self.size_bytes -= self._sizes.pop(workflow_id)

    def forget(self, workflow_ids: Iterable[str]) -> None:
        """Forget runs that are gone; one in a batch is refused there, and then looked for."""
        for workflow_id in workflow_ids:
            self.drop(workflow_id)

    def set_behind(self, workflow_id: str) -> None:
        """Take a run out that others may have moved on; the next load absorbs what is newer."""
        execution = self._runs.get(workflow_id)
        self.drop(workflow_id)
        if execution is not None and execution.workflow.version > 0:
            self._behind[workflow_id] = execution

    def take_behind(self, workflow_id: str) -> Execution | None:
        """Return what ``set_behind`` has kept, once."""
        return self._behind.pop(workflow_id, None)

    def shrink(self, held: Container[str]) -> None:
        """Forget the least recently used runs until the bound is kept, except ``held``.

        Costs what it forgets, not what there is; a held run is in use, and so the newest.
        """
        for _ in range(len(self._runs)):
            if self.size_bytes <= self._bytes_max:
                return
            workflow_id = next(iter(self._runs))
            if workflow_id in held:
                self._runs.move_to_end(workflow_id)
            else:
                self.drop(workflow_id)


def absorb(execution: Execution, loaded: Loaded) -> Execution:
    """Bring a run as once committed up to date; costs what is newer, not what there is."""
    execution.workflow = loaded.workflow
    for part in RUN_PAYLOADS:
        set_payload(execution, part, getattr(loaded, part))
    for seq in sorted(loaded.retired, reverse=True):  # a name falls back to an attempt that stays
        execution.retire(seq)
    for task, task_input, output in loaded.tasks:
        execution.put(task, task_input, output)
    execution.leases = {lease.task_id: lease for lease in loaded.leases}
    return execution


def build(loaded: Loaded, graph: Graph) -> Execution:
    """Return the execution of a run as loaded."""
    execution = Execution(
        loaded.workflow,
        graph,
        input=loaded.input or EMPTY,
        output=loaded.output,
        variables=loaded.variables or EMPTY,
    )
    for task, task_input, output in loaded.tasks:
        execution.put(task, task_input, output)
    execution.leases = {lease.task_id: lease for lease in loaded.leases}
    return execution
