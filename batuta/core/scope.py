"""What the ``${...}`` expressions of a run can see. Source: semantics.md e.

Roots are ``workflow`` and the reference names; of a node in a loop the newest iteration, of a
retried one the newest attempt. A payload that is not loaded becomes a need of the draft.
"""

from collections.abc import Callable
from typing import Any

from batuta.core.draft import Draft
from batuta.model.change import NeedPayload
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import EMPTY, Payload


class RunScope:
    """The run as the expressions of one node see it; ``task_id`` is None outside tasks."""

    __slots__ = ("_draft", "task_id")

    def __init__(self, draft: Draft, task_id: str | None = None) -> None:
        self._draft = draft
        self.task_id = task_id

    def lookup(self, root: str) -> "_WorkflowView | _TaskView | None":
        """Return the view of ``workflow`` or of a task's newest attempt; None when unknown."""
        if root == "workflow":
            return _WorkflowView(self._draft)
        seq = self._draft.execution.latest_of_node.get(root)
        return None if seq is None else _TaskView(self._draft, seq)

    def environment(self, name: str) -> str | None:
        """Return an allow-listed environment value."""
        return self._draft.environment.get(name)


def loaded(draft: Draft, payload: Payload | None, seq: int, part: str) -> Payload:
    """Return a payload whose bytes are in memory; asks for them when they are not."""
    if payload is None:
        return EMPTY
    if not payload.is_loaded:
        draft.wanted.append(NeedPayload(seq, part))
        return EMPTY
    return payload


def task_output(draft: Draft, task: Task) -> Payload:
    """Return a task's output, ``{}`` when it has none yet."""
    return loaded(draft, draft.execution.outputs.get(task.seq), task.seq, "output")


def task_input(draft: Draft, task: Task) -> Payload:
    """Return a task's input."""
    return loaded(draft, draft.execution.inputs.get(task.seq), task.seq, "input")


class _WorkflowView:
    """The root ``workflow``."""

    __slots__ = ("_draft",)

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def get(self, name: str) -> Any:
        """Return a first-level value; None for a name that is not visible."""
        read = _WORKFLOW_FIELDS.get(name)
        return None if read is None else read(self._draft)


class _TaskView:
    """A root that is a reference name."""

    __slots__ = ("_draft", "_seq")

    def __init__(self, draft: Draft, seq: int) -> None:
        self._draft = draft
        self._seq = seq

    def get(self, name: str) -> Any:
        """Return a first-level value; None for a name that is not visible."""
        task: Task = self._draft.execution.tasks[self._seq]
        if name == "output":
            return task_output(self._draft, task)
        read = _TASK_FIELDS.get(name)
        return None if read is None else read(self._draft, task)


def _parent_reference(draft: Draft) -> Any:
    return draft.workflow.parent_task_id


_WORKFLOW_FIELDS: dict[str, Callable[[Draft], Any]] = {
    "input": lambda d: loaded(d, d.execution.input, 0, "input"),
    "output": lambda d: loaded(d, d.execution.output, 0, "output"),
    "variables": lambda d: loaded(d, d.execution.variables, 0, "variables"),
    "status": lambda d: d.workflow.status.value,
    "workflowId": lambda d: d.workflow.workflow_id,
    "parentWorkflowId": lambda d: d.workflow.parent_id,
    "parentWorkflowTaskId": _parent_reference,
    "workflowType": lambda d: d.workflow.name,
    "version": lambda d: d.workflow.definition_version,
    "correlationId": lambda d: d.workflow.correlation_id,
    "reasonForIncompletion": lambda d: d.workflow.reason,
    "schemaVersion": lambda d: d.execution.graph.definition.schema_version,
}


def _lease_field(name: str) -> Callable[[Draft, Task], Any]:
    """A field that the lease holds while a worker has the task."""

    def read(draft: Draft, task: Task) -> Any:
        lease = draft.execution.leases.get(task.task_id)
        return getattr(lease or task, name)

    return read


def _status(draft: Draft, task: Task) -> str:
    is_held = task.status is TaskStatus.SCHEDULED and task.task_id in draft.execution.leases
    return "IN_PROGRESS" if is_held else task.status.value


_TASK_FIELDS: dict[str, Callable[[Draft, Task], Any]] = {
    "input": task_input,
    "taskType": lambda _, t: t.task_type,
    "status": _status,
    "referenceTaskName": lambda _, t: t.reference_name,
    "retryCount": lambda _, t: t.retry_count,
    "correlationId": lambda d, _: d.workflow.correlation_id,
    "pollCount": _lease_field("poll_count"),
    "taskDefName": lambda d, t: d.execution.graph.node_of(t).definition_name,
    "scheduledTime": lambda _, t: t.scheduled_at_ms,
    "startTime": _lease_field("started_at_ms"),
    "endTime": lambda _, t: t.ended_at_ms,
    "workflowInstanceId": lambda d, _: d.workflow.workflow_id,
    "taskId": lambda _, t: t.task_id,
    "reasonForIncompletion": lambda _, t: t.reason,
    "callbackAfterSeconds": lambda _, t: t.callback_after_ms // 1000,
    "workerId": _lease_field("worker_id"),
    "iteration": lambda _, t: t.iteration,
}
