"""What search v1 shows: summaries, with payloads as Java prints a map and times as ISO 8601.

The words are Conductor's, and so is the text of payloads: ``{a=1, b=[x, null]}``. Its users
look at it, and nobody can read it back. Source: semantics a.7; conductor WorkflowSummary and
TaskSummary.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from batuta.api.wire import TaskBody, WorkflowBody
from batuta.model.payload import Payload
from batuta.runtime.view import RunView, TaskView
from batuta.store.query.tree import Page

# A larger payload is named and not printed: what is inline in the store, and no more is read.
PRINTED_BYTES_MAX = 16_384

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT_MAX_MS = 253_402_300_799_999  # the end of the year 9999, the last that has a text


class WorkflowSummaryBody(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True
):
    """A run in a search result."""

    workflow_type: str
    version: int
    workflow_id: str
    correlation_id: str | None = None
    start_time: str
    update_time: str | None = None
    end_time: str | None = None
    status: str
    input: str
    output: str
    input_size: int
    output_size: int
    reason_for_incompletion: str | None = None
    execution_time: int
    event: str | None = None
    failed_reference_task_names: str
    failed_task_names: tuple[str, ...]
    priority: int
    task_to_domain: dict[str, str]
    parent_workflow_id: str
    classifier: str


class TaskSummaryBody(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True
):
    """A task in a search result; an unset time prints as 1970."""

    task_id: str
    task_def_name: str
    task_type: str
    workflow_id: str
    workflow_type: str
    workflow_priority: int
    correlation_id: str | None = None
    scheduled_time: str
    start_time: str
    update_time: str
    end_time: str
    status: str
    reason_for_incompletion: str | None = None
    execution_time: int
    queue_wait_time: int
    input: str
    output: str
    domain: str | None = None


class _FoundBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    total_hits: int
    total_hits_is_lower_bound: bool = False
    """Ours; only where there are more hits than are counted."""


class WorkflowSummariesBody(_FoundBody, frozen=True, kw_only=True):
    """A page of summaries of runs. Source: conductor SearchResult."""

    results: list[WorkflowSummaryBody]


class TaskSummariesBody(_FoundBody, frozen=True, kw_only=True):
    """A page of summaries of tasks. Source: conductor SearchResult."""

    results: list[TaskSummaryBody]


class WorkflowsBody(_FoundBody, frozen=True, kw_only=True):
    """A page of runs without their tasks. Source: conductor SearchResult."""

    results: list[WorkflowBody]


class TasksBody(_FoundBody, frozen=True, kw_only=True):
    """A page of tasks. Source: conductor SearchResult."""

    results: list[TaskBody]


def workflow_summaries(page: Page[RunView]) -> WorkflowSummariesBody:
    """Show a page of runs."""
    return WorkflowSummariesBody(
        total_hits=page.total,
        total_hits_is_lower_bound=not page.is_exact,
        results=[_workflow_summary(run) for run in page.items],
    )


def task_summaries(page: Page[tuple[RunView, TaskView]]) -> TaskSummariesBody:
    """Show a page of tasks."""
    return TaskSummariesBody(
        total_hits=page.total,
        total_hits_is_lower_bound=not page.is_exact,
        results=[_task_summary(run, view) for run, view in page.items],
    )


def _workflow_summary(run: RunView) -> WorkflowSummaryBody:
    workflow = run.workflow
    printed_input, printed_output = printed(run.input), printed(run.output)
    ended_at_ms = workflow.ended_at_ms
    return WorkflowSummaryBody(
        workflow_type=workflow.name,
        version=workflow.definition_version,
        workflow_id=workflow.workflow_id,
        correlation_id=workflow.correlation_id,
        start_time=iso(workflow.created_at_ms),
        update_time=iso(workflow.updated_at_ms) if workflow.updated_at_ms else None,
        end_time=iso(ended_at_ms) if ended_at_ms else None,
        status=workflow.status.value,
        input=printed_input,
        output=printed_output,
        input_size=_java_length(printed_input),
        output_size=_java_length(printed_output),
        reason_for_incompletion=workflow.reason,
        execution_time=ended_at_ms - workflow.created_at_ms if ended_at_ms else 0,
        event=workflow.event,
        failed_reference_task_names=",".join(workflow.failed_references),
        failed_task_names=workflow.failed_names,
        priority=workflow.priority,
        task_to_domain=workflow.task_to_domain,
        parent_workflow_id=workflow.parent_id or "",
        classifier=classifier_of(run.graph.definition.metadata),
    )


def _task_summary(run: RunView, view: TaskView) -> TaskSummaryBody:
    task, lease = view.task, view.lease
    started_at_ms = lease.started_at_ms if lease else task.started_at_ms
    ran_ms = task.ended_at_ms - started_at_ms if task.ended_at_ms and started_at_ms else 0
    return TaskSummaryBody(
        task_id=task.task_id,
        task_def_name=run.graph.node_of(task).definition_name,
        task_type=task.task_type,
        workflow_id=run.workflow.workflow_id,
        workflow_type=run.workflow.name,
        workflow_priority=run.workflow.priority,
        correlation_id=run.workflow.correlation_id,
        scheduled_time=iso(task.scheduled_at_ms),
        start_time=iso(started_at_ms),
        update_time=iso(lease.polled_at_ms if lease else task.updated_at_ms),
        end_time=iso(task.ended_at_ms),
        status="IN_PROGRESS" if lease else task.status.value,
        reason_for_incompletion=task.reason,
        execution_time=ran_ms,
        queue_wait_time=max(started_at_ms - task.scheduled_at_ms, 0) if started_at_ms else 0,
        input=printed(view.input),
        output=printed(view.output),
        domain=task.domain,
    )


def iso(at_ms: int) -> str:
    """Return an instant as ``2026-01-31T12:00:00.000Z``."""
    at = _EPOCH + timedelta(milliseconds=min(at_ms, _INSTANT_MAX_MS))
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1_000:03}Z"


def printed(payload: Payload) -> str:
    """Return a payload as Java's ``Map.toString`` has it; a large one is only named."""
    if payload.raw is None or payload.size_bytes > PRINTED_BYTES_MAX:
        return f"({payload.size_bytes} bytes: get it with the workflow)"
    return java_text(payload.value)


def java_text(value: Any) -> str:
    """Return a decoded JSON value as Java's ``toString`` of maps, lists and numbers has it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "{" + ", ".join(f"{key}={java_text(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(java_text(one) for one in value) + "]"
        case float():
            return _java_double(value)
        case _:
            return str(value)


def _java_double(value: float) -> str:
    """Return the shortest digits, with an exponent from 10^7 on and below 10^-3, as Java."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = _digits(value)
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _digits(value: float) -> tuple[str, str, int]:
    mantissa, _, power = f"{value:e}".partition("e")
    shortest = repr(abs(value)).partition("e")[0].replace(".", "").strip("0")
    return "-" if mantissa.startswith("-") else "", shortest or "0", int(power)


def _java_length(text: str) -> int:
    """Return the number of UTF-16 units, which Java counts."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def classifier_of(metadata: dict[str, Any]) -> str:
    """Return what kind of workflow a definition calls itself. Source: semantics a.7."""
    given = metadata.get("classifier")
    if isinstance(given, str) and given.strip():
        return given
    return "agent" if "agent_sdk" in metadata or "agentDef" in metadata else "workflow"
