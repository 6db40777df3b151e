"""What a query means: the reference that every database is compared with."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from batuta.model.execution import Workflow
from batuta.store.query.tree import (
    FREE_TEXT_FIELDS,
    Comparison,
    Condition,
    Every,
    FoundTask,
    Kind,
    Page,
    Query,
    Some,
    Sort,
    count_limit,
    page_of,
)

Value = str | int
T = TypeVar("T")

_WORKFLOW: dict[str, Callable[[Workflow], Value]] = {
    "workflowId": lambda run: run.workflow_id,
    "correlationId": lambda run: run.correlation_id or "",
    "workflowType": lambda run: run.name,
    "version": lambda run: run.definition_version,
    "status": lambda run: run.status.value,
    "startTime": lambda run: run.created_at_ms,
    "updateTime": lambda run: run.updated_at_ms,
    "endTime": lambda run: run.ended_at_ms,
    "parentWorkflowId": lambda run: run.parent_id or "",
    "reasonForIncompletion": lambda run: run.reason or "",
    "priority": lambda run: run.priority,
    "dialect": lambda run: run.dialect,
    "owner": lambda run: run.owner,
}

# A task in a worker's hands is shown with its lease laid over it.
_TASK: dict[str, Callable[[FoundTask], Value]] = {
    "taskId": lambda found: found.task.task_id,
    "taskType": lambda found: found.task.task_type,
    "taskDefName": lambda found: found.task.definition_name,
    "referenceTaskName": lambda found: found.task.reference_name,
    "workflowId": lambda found: found.workflow.workflow_id,
    "workflowType": lambda found: found.workflow.name,
    "correlationId": lambda found: found.workflow.correlation_id or "",
    "status": lambda found: "IN_PROGRESS" if found.lease else found.task.status.value,
    "scheduledTime": lambda found: found.task.scheduled_at_ms,
    "startTime": lambda found: (
        found.lease.started_at_ms if found.lease else found.task.started_at_ms
    ),
    "updateTime": lambda found: (
        found.lease.polled_at_ms if found.lease else found.task.updated_at_ms
    ),
    "endTime": lambda found: found.task.ended_at_ms,
    "reasonForIncompletion": lambda found: found.task.reason or "",
}


def find_workflows(
    query: Query, runs: Sequence[Workflow], *, sort: Sequence[Sort], start: int, size: int
) -> Page[Workflow]:
    """Return a page of those runs that match."""
    return _page(
        [run for run in runs if _matches(query, _WORKFLOW, run)], _WORKFLOW, sort, start, size
    )


def find_tasks(
    query: Query, tasks: Sequence[FoundTask], *, sort: Sequence[Sort], start: int, size: int
) -> Page[FoundTask]:
    """Return a page of those tasks that match."""
    return _page(matching_tasks(query, tasks), _TASK, sort, start, size)


def find_workflows_by_tasks(
    query: Query, tasks: Sequence[FoundTask], *, sort: Sequence[Sort], start: int, size: int
) -> Page[Workflow]:
    """Return a page of the runs that have a task that matches; ``sort`` is of runs."""
    runs = {found.workflow.workflow_id: found.workflow for found in matching_tasks(query, tasks)}
    return _page(list(runs.values()), _WORKFLOW, sort, start, size)


def matching_tasks(query: Query, tasks: Sequence[FoundTask]) -> list[FoundTask]:
    """Return the tasks that match."""
    return [found for found in tasks if _matches(query, _TASK, found)]


def _page(
    found: list[T],
    values: dict[str, Callable[[T], Value]],
    sort: Sequence[Sort],
    start: int,
    size: int,
) -> Page[T]:
    is_task = "taskId" in values
    found.sort(key=values["taskId" if is_task else "workflowId"], reverse=is_task)
    for key in reversed(sort):
        found.sort(key=values[key.field.name], reverse=key.is_descending)
    limit = count_limit(start, size)
    return page_of(found[start : start + size], min(len(found), limit + 1), limit)


def _matches(query: Query, values: dict[str, Callable[[T], Value]], record: T) -> bool:
    def holds(condition: Condition) -> bool:
        match condition:
            case Every(parts):
                return all(holds(part) for part in parts)
            case Some(parts):
                return any(holds(part) for part in parts)
            case Comparison():
                value = values[condition.field.name](record)
                return _passes(condition, value) is not condition.is_negated

    if query.where is not None and not holds(query.where):
        return False
    wanted = lower(query.free_text)
    names = FREE_TEXT_FIELDS[query.subject]
    return not wanted or any(wanted in lower(str(values[name](record))) for name in names)


def _passes(test: Comparison, value: Value) -> bool:
    if test.operator == "IN":
        return value in test.values
    if test.operator == "LIKE":
        return _like(str(value), str(test.values[0]))
    if test.field.kind is Kind.INSTANT and value == 0:
        return False
    return _COMPARE[test.operator](int(value), int(test.values[0]))


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def _like(value: str, pattern: str) -> bool:
    first, *middle, last = pattern.split("*")
    at, end = len(first), len(value) - len(last)
    if end < at or not value.startswith(first) or not value.endswith(last):
        return False
    # Each part where it first occurs: taking it later never helps those that follow.
    for part in middle:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def lower(text: str) -> str:
    """Return the text with small ASCII letters; what a database does with others differs."""
    return text.translate(_SMALL)


_SMALL = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
