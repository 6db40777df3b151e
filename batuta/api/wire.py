"""Records as Conductor's JSON.

The only place that knows the wire's field names, and the only one where its seconds meet our
milliseconds. Payloads are embedded as the bytes they are; what the tasks of a node have in
common (workflowTask, taskDefinition) is encoded once for each snapshot. A task in a worker's
hands is its record overlaid with its lease: a poll writes no task record (DESIGN rule 2).

Null fields are left out, nulls inside maps stay (gotchas.md 8): a field that may be null has
the default None, which ``omit_defaults`` drops; a field without a default is always there.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.core.definition.normalize import to_document
from batuta.core.graph import Graph, Node, with_lists
from batuta.core.limits.policy import SECOND_MS
from batuta.model.definition import TaskDef, WorkflowDef, WorkflowTask
from batuta.model.execution import Origin, Task, TaskStatus
from batuta.model.payload import Payload
from batuta.runtime.view import Polled, RunView, TaskView

SNAPSHOTS_MAX = 1_000  # definitions whose encoded parts are kept; some 10 kB each

MADE_MAX = 100  # nodes made by runs of a definition whose encoded parts are kept

_NO_OBJECT = msgspec.Raw(b"{}")
_NAMELESS = b'"taskReferenceName":""'


class TaskBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A task as Conductor shows it. Source: semantics a.6; conductor Task."""

    task_id: str
    task_type: str
    task_def_name: str
    reference_task_name: str
    status: TaskStatus
    seq: int
    retry_count: int
    poll_count: int
    iteration: int
    loop_over_task: bool
    input_data: msgspec.Raw
    output_data: msgspec.Raw
    workflow_instance_id: str
    workflow_type: str
    workflow_task: msgspec.Raw
    task_definition: msgspec.Raw | None = None
    workflow_priority: int
    correlation_id: str | None = None
    domain: str | None = None
    worker_id: str | None = None
    scheduled_time: int
    start_time: int
    end_time: int
    update_time: int
    first_start_time: int
    queue_wait_time: int
    start_delay_in_seconds: int
    callback_after_seconds: int
    callback_from_worker: bool
    response_timeout_seconds: int
    retried: bool
    executed: bool
    retried_task_id: str | None = None
    reason_for_incompletion: str | None = None
    rate_limit_per_frequency: int
    rate_limit_frequency_in_seconds: int
    isolation_group_id: str | None = None
    execution_name_space: str | None = None
    sub_workflow_id: str | None = None
    subworkflow_changed: bool


class WorkflowBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A run as Conductor shows it. Source: semantics a.5; conductor Workflow."""

    workflow_id: str
    workflow_name: str
    workflow_version: int
    status: str
    create_time: int
    start_time: int
    update_time: int
    end_time: int
    input: msgspec.Raw
    output: msgspec.Raw
    variables: msgspec.Raw
    tasks: list[TaskBody]
    workflow_definition: msgspec.Raw
    priority: int
    task_to_domain: dict[str, str]
    failed_reference_task_names: tuple[str, ...]
    failed_task_names: tuple[str, ...]
    last_retried_time: int
    owner_app: str
    history: list[Any]
    rate_limited: bool
    correlation_id: str | None = None
    parent_workflow_id: str | None = None
    parent_workflow_task_id: str | None = None
    reason_for_incompletion: str | None = None
    event: str | None = None


class StatusBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The light status of a run. Source: GET /api/workflow/{workflowId}/status."""

    workflow_id: str
    status: str
    correlation_id: str | None = None
    output: msgspec.Raw | None = None
    variables: msgspec.Raw | None = None


class _NodeParts(msgspec.Struct, frozen=True):
    """What all tasks of a node show alike."""

    definition_name: str
    workflow_task: msgspec.Raw
    task_definition: msgspec.Raw | None
    response_timeout_seconds: int
    rate_limit_per_frequency: int
    rate_limit_frequency_in_seconds: int
    isolation_group_id: str | None
    execution_name_space: str | None


class _SnapshotParts(msgspec.Struct):
    """The encoded parts of a snapshot, each made when first shown."""

    nodes: dict[str, _NodeParts] = {}
    made: dict[Any, _NodeParts] = {}
    definition: msgspec.Raw | None = None


_parts: dict[str, _SnapshotParts] = {}


def polled_body(polled: Polled) -> TaskBody:
    """Show a task as the worker who has just polled it gets it."""
    return _task_body(polled, polled, polled.output)


def task_body(run: RunView, view: TaskView) -> TaskBody:
    """Show one task of a run; a JOIN or loop under way with what it has gathered so far."""
    output = _gathered(run, view.task) if is_gathering(view.task) else view.output
    return _task_body(run, view, output)


def changed_task_body(run: RunView, view: TaskView) -> TaskBody:
    """Show one task of a run that is known in part; what gathers shows its output at its end."""
    return _task_body(run, view, view.output)


def workflow_body(run: RunView) -> WorkflowBody:
    """Show a run, its tasks in order of creation; skipped ones come first (gotchas.md 49)."""
    workflow = run.workflow
    views = sorted(run.tasks, key=lambda view: not view.task.is_skipped_by_hand)
    return WorkflowBody(
        workflow_id=workflow.workflow_id,
        workflow_name=workflow.name,
        workflow_version=workflow.definition_version,
        status=workflow.status.value,
        create_time=workflow.created_at_ms,
        start_time=workflow.created_at_ms,
        update_time=workflow.updated_at_ms,
        end_time=workflow.ended_at_ms,
        input=_raw(run.input),
        output=_raw(run.output),
        variables=_raw(run.variables),
        tasks=[task_body(run, view) for view in views],
        workflow_definition=_definition(run.graph),
        priority=workflow.priority,
        task_to_domain=workflow.task_to_domain,
        failed_reference_task_names=workflow.failed_references,
        failed_task_names=workflow.failed_names,
        last_retried_time=workflow.last_retried_at_ms,
        owner_app="",
        history=[],
        rate_limited=False,
        correlation_id=workflow.correlation_id,
        parent_workflow_id=workflow.parent_id,
        parent_workflow_task_id=workflow.parent_task_id,
        reason_for_incompletion=workflow.reason,
        event=workflow.event,
    )


def status_body(run: RunView, *, with_output: bool, with_variables: bool) -> StatusBody:
    """Show where a run stands."""
    return StatusBody(
        workflow_id=run.workflow.workflow_id,
        status=run.workflow.status.value,
        correlation_id=run.workflow.correlation_id,
        output=_raw(run.output) if with_output else None,
        variables=_raw(run.variables) if with_variables else None,
    )


def is_gathering(task: Task) -> bool:
    """Say whether a task's output is put together from the run's other tasks as yet."""
    return task.status is TaskStatus.IN_PROGRESS and task.task_type in {"JOIN", "DO_WHILE"}


def to_ms(seconds: int) -> int:
    """Return the wire's seconds as our milliseconds; there are no negative ones."""
    return max(seconds, 0) * SECOND_MS


def _task_body(run: RunView | Polled, view: TaskView | Polled, output: Payload) -> TaskBody:
    workflow, task, lease = run.workflow, view.task, view.lease
    parts = _parts_of(run.graph, task)
    started_at_ms = lease.started_at_ms if lease else task.started_at_ms
    return TaskBody(
        task_id=task.task_id,
        task_type=task.task_type,
        task_def_name=parts.definition_name,
        reference_task_name=task.reference_name,
        status=TaskStatus.IN_PROGRESS if lease else task.status,
        seq=0 if task.is_skipped_by_hand else task.seq,
        retry_count=task.retry_count,
        poll_count=lease.poll_count if lease else task.poll_count,
        iteration=task.iteration,
        loop_over_task=bool(task.node),
        input_data=_raw(view.input),
        output_data=_raw(output),
        workflow_instance_id=workflow.workflow_id,
        workflow_type=workflow.name,
        workflow_task=parts.workflow_task,
        task_definition=parts.task_definition,
        workflow_priority=workflow.priority,
        correlation_id=workflow.correlation_id,
        domain=task.domain,
        worker_id=lease.worker_id if lease else task.worker_id,
        scheduled_time=task.scheduled_at_ms,
        start_time=started_at_ms,
        end_time=task.ended_at_ms,
        update_time=lease.polled_at_ms if lease else task.updated_at_ms,
        first_start_time=0,  # always, in Conductor (semantics a.6)
        queue_wait_time=max(started_at_ms - task.scheduled_at_ms, 0) if started_at_ms else 0,
        start_delay_in_seconds=task.start_delay_ms // SECOND_MS,
        callback_after_seconds=0 if lease else task.callback_after_ms // SECOND_MS,
        callback_from_worker=True,
        response_timeout_seconds=parts.response_timeout_seconds,
        retried=task.is_retried,
        executed=task.is_executed,
        retried_task_id=task.retried_task_id,
        reason_for_incompletion=task.reason,
        rate_limit_per_frequency=parts.rate_limit_per_frequency,
        rate_limit_frequency_in_seconds=parts.rate_limit_frequency_in_seconds,
        isolation_group_id=parts.isolation_group_id,
        execution_name_space=parts.execution_name_space,
        sub_workflow_id=task.child_id,
        subworkflow_changed=False,
    )


def _gathered(run: RunView, task: Task) -> Payload:
    """Put together what a JOIN or a DO_WHILE under way would give now (semantics c.4, c.5)."""
    # In order of creation, so that the latest attempt at a name stays.
    outputs = {view.task.reference_name: _raw(view.output) for view in run.tasks}
    if task.task_type == "JOIN":
        joined = {name: outputs[name] for name in task.join_on if name in outputs}
        return Payload.of({name: raw for name, raw in joined.items() if bytes(raw) != b"{}"})
    nodes = run.graph.members_of(task.node_name, task.origin)
    members = [node.reference_name for node in nodes]
    # What a dynamic fork has made is in no definition.
    made = [v.task for v in run.tasks if v.task.origin and _is_inside(run.graph, v.task, task)]
    passes: dict[str, Any] = {"iteration": task.iteration}
    for number in range(1, task.iteration + 1):
        suffix = f"{task.suffix}__{number}"
        names = {name: name + suffix for name in members}
        names |= {t.node_name: t.reference_name for t in made if t.suffix == suffix}
        passes[str(number)] = {
            name: outputs[full] for name, full in names.items() if full in outputs
        }
    return Payload.of(passes)


def _is_inside(graph: Graph, task: Task, loop: Task) -> bool:
    return graph.loops_of(task)[-1:] == (loop.reference_name,)


def _raw(payload: Payload) -> msgspec.Raw:
    return _NO_OBJECT if payload.raw is None else msgspec.Raw(payload.raw)


def _snapshot_parts(graph: Graph) -> _SnapshotParts:
    found = _parts.get(graph.digest)
    if found is None:
        if len(_parts) >= SNAPSHOTS_MAX:
            del _parts[next(iter(_parts))]
        found = _parts[graph.digest] = _SnapshotParts()
    return found


def _parts_of(graph: Graph, task: Task) -> _NodeParts:
    if task.origin is not None:
        return _parts_of_made(graph, task, task.origin)
    parts = _snapshot_parts(graph)
    name = task.node or task.reference_name
    found = parts.nodes.get(name)
    if found is None:
        found = parts.nodes[name] = _encode_node(graph.nodes[name], graph)
    return found


def _parts_of_made(graph: Graph, task: Task, origin: Origin) -> _NodeParts:
    """Return the parts of a node that a run has made; branches that are alike share them."""
    parts = _snapshot_parts(graph)
    is_root = task.node_name == origin.root
    key = replace(origin, root="") if is_root else (origin, task.node_name)
    found = parts.made.get(key)
    if found is None:
        if len(parts.made) >= MADE_MAX:
            del parts.made[next(iter(parts.made))]
        node = graph.node_of(task)
        found = parts.made[key] = _encode_node(node.renamed("") if is_root else node, graph)
    if not is_root:
        return found
    # Quotes in values are escaped, so the first match is the field itself.
    name = msgspec.json.encode(task.node_name)
    whole = bytes(found.workflow_task).replace(_NAMELESS, _NAMELESS[:-2] + name, 1)
    return replace(found, workflow_task=msgspec.Raw(whole))


def _encode_node(node: Node, graph: Graph) -> _NodeParts:
    task_def = node.task_def
    limits = task_def or TaskDef(rate_limit_frequency_in_seconds=0)
    task = _embed(node.task, graph.snapshot.task_defs)
    return _NodeParts(
        definition_name=node.definition_name,
        workflow_task=_encoded(_task_document(task)),
        task_definition=_encoded(to_document(task_def)) if task_def else None,
        response_timeout_seconds=node.policy.response_timeout_ms // SECOND_MS,
        rate_limit_per_frequency=limits.rate_limit_per_frequency,
        rate_limit_frequency_in_seconds=limits.rate_limit_frequency_in_seconds,
        isolation_group_id=limits.isolation_group_id,
        execution_name_space=limits.execution_name_space,
    )


def _definition(graph: Graph) -> msgspec.Raw:
    """Encode the snapshot's definition with its task definitions embedded (semantics a.5)."""
    parts = _snapshot_parts(graph)
    if parts.definition is None:
        tasks = [_embed(task, graph.snapshot.task_defs) for task in graph.definition.tasks]
        whole = replace(graph.definition, tasks=tasks)
        parts.definition = _encoded(to_document(whole))
    return parts.definition


def _embed(task: WorkflowTask, task_defs: dict[str, TaskDef]) -> WorkflowTask:
    def embed(tasks: list[WorkflowTask]) -> list[WorkflowTask]:
        return [_embed(inner, task_defs) for inner in tasks]

    own = task_defs.get(task.name) or task.task_definition
    return with_lists(task, embed, task_definition=own)


def _task_document(task: WorkflowTask) -> Any:
    return to_document(WorkflowDef(tasks=[task]))["tasks"][0]


def _encoded(document: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(document))
