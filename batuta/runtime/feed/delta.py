"""What of a run is newer than a version of it, for whoever has seen that one."""

from collections.abc import Sequence

import msgspec

from batuta.model.execution import Lease
from batuta.model.payload import EMPTY
from batuta.runtime.definitions import Definitions
from batuta.runtime.fetch import whole_run
from batuta.runtime.view import RunView, TaskView
from batuta.store.base import Store


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A run with only those of its tasks that were written after a version.

    ``retired``: seqs of tasks that are no longer the run's. ``held``: all leases there are.
    """

    run: RunView
    retired: Sequence[int]
    held: Sequence[Lease]


async def delta(
    store: Store, definitions: Definitions, workflow_id: str, version: int
) -> Delta | None:
    """Return what is newer than a version; 0 is all. None: no such run.

    Costs what is newer, not what there is.

    Raises:
        StoreError: The database failed.
    """
    loaded = (await store.load([(workflow_id, version)])).get(workflow_id)
    if loaded is None:
        return None
    held = {lease.task_id: lease for lease in loaded.leases}
    views = [
        TaskView(
            task=task, input=given or EMPTY, output=output or EMPTY, lease=held.get(task.task_id)
        )
        for task, given, output in loaded.tasks
    ]
    run = RunView(
        workflow=loaded.workflow,
        input=loaded.input or EMPTY,
        output=loaded.output or EMPTY,
        variables=loaded.variables or EMPTY,
        tasks=views,
        graph=await definitions.graph(loaded.workflow.definition),
    )
    return Delta(run=await whole_run(store, run), retired=loaded.retired, held=loaded.leases)
