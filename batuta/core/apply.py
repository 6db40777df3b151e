"""What changes mean: the one function that moves an execution on.

The cache, several commands of one run in one batch and the simulation all use it; an SQL store
must agree with it, which the conformance suite checks.
"""

from collections.abc import Sequence

import msgspec

from batuta.core.execution import Execution
from batuta.model.change import (
    Change,
    PutLease,
    PutTask,
    PutWorkflow,
    Release,
    RemoveWorkflow,
    RetireTask,
)
from batuta.model.payload import Payload

RUN_PAYLOADS = ("input", "output", "variables")


def apply(execution: Execution, changes: Sequence[Change], *, now_ms: int) -> Execution:
    """Advance ``execution`` in place by one command's changes and return it.

    O(changes), not O(tasks). The version grows by one. Queue rows, timers, Sends, logs and
    reservations are the store's and leave the execution as it is.
    """
    for change in changes:
        if isinstance(change, PutTask):
            execution.put(change.task, change.input, change.output)
        elif isinstance(change, PutWorkflow):
            _put_workflow(execution, change)
        elif isinstance(change, Release):
            execution.leases.pop(change.task_id, None)
        elif isinstance(change, PutLease):
            execution.leases[change.lease.task_id] = change.lease
        elif isinstance(change, RetireTask):
            execution.retire(change.seq)
        elif isinstance(change, RemoveWorkflow):
            execution.is_removed = True
    execution.workflow = msgspec.structs.replace(
        execution.workflow, version=execution.workflow.version + 1, updated_at_ms=now_ms
    )
    return execution


def _put_workflow(execution: Execution, change: PutWorkflow) -> None:
    execution.workflow = change.workflow
    execution.graph = change.graph or execution.graph
    for part in RUN_PAYLOADS:
        set_payload(execution, part, getattr(change, part))


def set_payload(execution: Execution, part: str, payload: Payload | None) -> None:
    """Give the run itself a payload, and weigh it; None leaves what there is."""
    if payload is not None:
        before: Payload | None = getattr(execution, part)
        execution.size_bytes += payload.size_bytes - (before.size_bytes if before else 0)
        setattr(execution, part, payload)
