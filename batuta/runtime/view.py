"""What the engine shows: records with their payloads and leases, ready for api and workers."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from batuta.core.execution import Execution
from batuta.core.graph import Graph
from batuta.model.change import PinnedDefinition
from batuta.model.definition import WorkflowDef
from batuta.model.execution import Lease, Task, Workflow
from batuta.model.limit import split_part
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.keep.keeper import Kept
from batuta.store.base import QueueDepth


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task; ``lease`` when a worker holds it now."""

    task: Task
    input: Payload
    output: Payload
    lease: Lease | None = None


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run as committed; ``tasks`` in order of creation, empty when not asked for."""

    workflow: Workflow
    input: Payload
    output: Payload
    variables: Payload
    tasks: list[TaskView]
    graph: Graph


class Polled(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a worker's hands; the lease is on disk."""

    workflow: Workflow
    task: Task
    input: Payload
    output: Payload
    lease: Lease
    graph: Graph


class Updated(msgspec.Struct, frozen=True, kw_only=True):
    """What a report did; durable. ``queue`` is the task's, domain included."""

    workflow_id: str
    task_id: str
    queue: str | None = None
    domain: str | None = None
    is_terminal: bool = False


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to start a run; ``version`` 0 is the latest; ``definition`` is an inline one.

    ``workflow_id``: its id, from ``Engine.new_id``, where something has to be kept for it before
    it starts; "" has one made.
    """

    name: str
    version: int = 0
    input: Payload = EMPTY
    correlation_id: str | None = None
    priority: int = 0
    task_to_domain: dict[str, str] = {}
    definition: WorkflowDef | None = None
    pinned: PinnedDefinition | None = None
    event: str | None = None
    dialect: str = ""
    owner: str = ""
    workflow_id: str = ""


class PollData(msgspec.Struct, frozen=True, kw_only=True):
    """Who polled a queue last, and when."""

    queue: str
    domain: str | None
    worker_id: str | None
    last_poll_at_ms: int


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """A queue's depth and its last poll (0 = none since this node started)."""

    queue: str
    ready: int
    leased: int
    oldest_at_ms: int
    last_poll_at_ms: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A node at a glance; ``counts`` as the store's, bounded."""

    version: str
    store: str
    node: str
    started_at_ms: int
    counts: dict[str, int]
    queues: list[QueueState]
    recent: list[Workflow]
    loops: dict[str, dict[str, Any]]
    quarantined_count: int = 0
    kept: Kept | None = None


def queue_states(depths: Sequence[QueueDepth], last_polls: Mapping[str, int]) -> list[QueueState]:
    """Return the queues that have tasks or are in ``last_polls`` (Unix ms), by name."""
    found: dict[str, QueueDepth] = {}
    for depth in depths:  # parts count with their queue
        name = split_part(depth.queue)[0]
        found[name] = _sum(found[name], depth) if name in found else depth
    return [
        QueueState(
            queue=name,
            ready=depth.ready,
            leased=depth.leased,
            oldest_at_ms=depth.oldest_at_ms,
            last_poll_at_ms=last_polls.get(name, 0),
        )
        for name in sorted({*found, *last_polls})
        for depth in [found.get(name) or QueueDepth(queue=name, ready=0, leased=0)]
    ]


def _sum(one: QueueDepth, other: QueueDepth) -> QueueDepth:
    oldest = [at_ms for at_ms in (one.oldest_at_ms, other.oldest_at_ms) if at_ms]
    return QueueDepth(
        queue=one.queue,
        ready=one.ready + other.ready,
        leased=one.leased + other.leased,
        oldest_at_ms=min(oldest, default=0),
    )


def updated(workflow_id: str, task_id: str, task: Task | None) -> Updated:
    """Return what a report did to a task; None for one that has been retired."""
    return Updated(
        workflow_id=workflow_id,
        task_id=task_id,
        queue=task.queue if task else None,
        domain=task.domain if task else None,
        is_terminal=task is None or task.status.is_terminal,
    )


def run_view(execution: Execution, *, with_tasks: bool) -> RunView:
    """Return a run for showing; O(tasks) with them."""
    tasks = [task_view(execution, t) for t in execution.in_order()] if with_tasks else []
    return RunView(
        workflow=execution.workflow,
        input=execution.input,
        output=execution.output or EMPTY,
        variables=execution.variables,
        tasks=tasks,
        graph=execution.graph,
    )


def task_view(execution: Execution, task: Task) -> TaskView:
    """Return a task with its payloads and its lease."""
    return TaskView(
        task=task,
        input=execution.inputs.get(task.seq) or EMPTY,
        output=execution.outputs.get(task.seq) or EMPTY,
        lease=execution.leases.get(task.task_id),
    )
