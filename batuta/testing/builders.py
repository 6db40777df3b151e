"""Records and batches with nothing in them but what the case is about.

Every id is a fresh UUID in increasing order. Times are ``NOW_MS`` unless given.
"""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from batuta.core.identity import uuid7
from batuta.core.journal import entry_document
from batuta.model.change import (
    AddLog,
    Change,
    Enqueue,
    PutLease,
    PutTask,
    PutWorkflow,
    RetireTask,
    SetTimer,
)
from batuta.model.command import TimerKind
from batuta.model.execution import Lease, Task, Workflow, lease_expiry_ms
from batuta.model.payload import Payload
from batuta.store.base import Batch, Claim, Decision, Entry, RunChanges, Touch

NOW_MS = 1_790_000_000_000  # any instant; the suites never look at the wall clock
LEASE_MS = 60_000

_COUNTER = itertools.count(1)


def new_id() -> str:
    """Return an id that is greater than all those before it."""
    return uuid7(NOW_MS + next(_COUNTER), seed=0, number=0)


def workflow(**fields: Any) -> Workflow:
    """Return the header of a new run; ``fields`` replace the defaults."""
    defaults = {
        "workflow_id": new_id(),
        "name": "pipeline",
        "definition": "0123456789abcdef",
        "created_at_ms": NOW_MS,
        "updated_at_ms": NOW_MS,
    }
    return Workflow(**{**defaults, **fields})


def task(seq: int, **fields: Any) -> Task:
    """Return the header of a new task; ``fields`` replace the defaults."""
    defaults = {
        "seq": seq,
        "task_id": new_id(),
        "reference_name": f"step{seq}",
        "task_type": "build",
        "scheduled_at_ms": NOW_MS,
        "updated_at_ms": NOW_MS,
    }
    return Task(**{**defaults, **fields})


def put_workflow(
    header: Workflow, before: Workflow | None = None, **payloads: Payload | None
) -> PutWorkflow:
    """Put a header; ``before`` is the one it replaces, None for a new run."""
    return PutWorkflow(workflow=header, changed=_changed(header, before), **payloads)


def put_task(header: Task, before: Task | None = None, **payloads: Payload | None) -> PutTask:
    """Put a task; ``before`` is the header it replaces, None for a new task."""
    return PutTask(task=header, changed=_changed(header, before), **payloads)


def enqueue(header: Task, queue: str = "build", **fields: Any) -> Enqueue:
    """Offer a task to the workers of ``queue``; ``fields`` replace the defaults."""
    defaults = {"at_ms": NOW_MS, "lease_ms": LEASE_MS}
    return Enqueue(
        **{
            **defaults,
            "task_id": header.task_id,
            "seq": header.seq,
            "queue": queue,
            **fields,
        }
    )


def retire(header: Task) -> RetireTask:
    """Hide a task."""
    return RetireTask(header.seq)


def log(header: Task, line: str, created_at_ms: int = NOW_MS) -> AddLog:
    """Log a line for a task."""
    return AddLog(task_id=header.task_id, created_at_ms=created_at_ms, line=line)


def timer(
    header: Task | None, due_at_ms: int = NOW_MS, kind: TimerKind = TimerKind.WAIT
) -> SetTimer:
    """Set a timer of a task, or of the whole run."""
    return SetTimer(task_id=header.task_id if header else "", kind=kind, due_at_ms=due_at_ms)


def put_lease(workflow_id: str, header: Task, queue: str = "build", **fields: Any) -> PutLease:
    """Give a task straight into the hands of worker ``w1``; ``fields`` replace the defaults."""
    defaults = {
        "worker_id": "w1",
        "poll_count": 1,
        "started_at_ms": NOW_MS,
        "polled_at_ms": NOW_MS,
        "expires_at_ms": lease_expiry_ms(NOW_MS, NOW_MS, LEASE_MS, 0),
        "lease_ms": LEASE_MS,
        "timeout_ms": 0,
    }
    lease = {"task_id": header.task_id, "workflow_id": workflow_id, "queue": queue}
    found = Lease(**{**defaults, **lease, **fields})
    return PutLease(lease=found, at_ms=found.polled_at_ms)


def start(header: Workflow, *changes: Change, **options: Any) -> RunChanges:
    """Return a new run's changes: its header, then ``changes``. Options as of ``step``."""
    return step(header.workflow_id, 0, put_workflow(header), *changes, **options)


def step(
    workflow_id: str,
    version_from: int,
    *changes: Change,
    commands: int = 1,
    at_ms: int = NOW_MS,
    request_id: str = "",
) -> RunChanges:
    """Return the changes of ``commands`` commands; the first one of them made all changes."""
    documents = [entry_document(changes), *[entry_document([])] * (commands - 1)]
    return RunChanges(
        workflow_id=workflow_id,
        version_from=version_from,
        version_to=version_from + commands,
        changes=changes,
        entries=[
            Entry(
                version=version,
                at_ms=at_ms,
                kind="update",
                request_id=request_id,
                changed=document,
            )
            for version, document in enumerate(documents, start=version_from + 1)
        ],
    )


def batch(
    *decisions: Decision | RunChanges,
    now_ms: int = NOW_MS,
    claims: Sequence[Claim] = (),
    touches: Sequence[Touch] = (),
) -> Batch:
    """Return a batch; a run that stands alone is a decision of its own."""
    return Batch(
        now_ms=now_ms,
        decisions=[Decision([one]) if isinstance(one, RunChanges) else one for one in decisions],
        claims=claims,
        touches=touches,
    )


def together(*runs: RunChanges) -> Decision:
    """Return a decision of several runs."""
    return Decision(runs)


def give_back(lease: Lease) -> Touch:
    """Return an undelivered lease to its queue."""
    return Touch(
        task_id=lease.task_id,
        poll_count=lease.poll_count,
        polled_at_ms=lease.polled_at_ms,
        is_given_back=True,
    )


def claim(queue: str = "build", count: int = 1, worker_id: str | None = "w1") -> Claim:
    """Return a wish for tasks of a queue."""
    return Claim(queue=queue, worker_id=worker_id, count=count)


def same_json(left: Payload | None, right: Payload | None) -> bool:
    """Return whether two payloads hold the same JSON, to the kind of number and the last digit."""
    return _canonical(left) == _canonical(right)


def _canonical(payload: Payload | None) -> str | None:
    if payload is None:
        return None
    assert payload.raw is not None, "only what is loaded can be compared"
    # The standard library's reader keeps integers of any size; msgspec's does not.
    return json.dumps(json.loads(payload.raw), sort_keys=True)


def _changed(header: msgspec.Struct, before: msgspec.Struct | None) -> dict[str, Any] | None:
    if before is None:
        return None
    return {
        name: getattr(header, name)
        for name in header.__struct_fields__
        if getattr(header, name) != getattr(before, name)
    }
