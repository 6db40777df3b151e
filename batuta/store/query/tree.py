"""What can be searched: fields, conditions on them, orders, and pages of what was found."""

from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from batuta.model.execution import Lease, Task, TaskStatus, Workflow, WorkflowStatus
from batuta.model.payload import Payload

TOTAL_EXACT_MAX = 10_000  # hits that are counted; beyond, a total is a lower bound
PAGE_SIZE_MAX = 5_000  # hits of one page; Conductor's limit
START_MAX = 100_000  # a page further on would read all those before it; narrow the times instead

T = TypeVar("T")


class Subject(StrEnum):
    """What a query speaks of."""

    WORKFLOW = "workflow"
    TASK = "task"


class Kind(StrEnum):
    """What a field holds. An absent text or id is the empty text, an absent instant is 0."""

    TEXT = "text"
    ID = "id"
    WORD = "word"
    NUMBER = "number"
    INSTANT = "instant"  # Unix ms


class Field(msgspec.Struct, frozen=True):
    """A field that queries name; ``words`` are the values that a WORD may have."""

    name: str
    kind: Kind
    words: tuple[str, ...] = ()
    can_be_empty: bool = False


_WORKFLOW_STATUS = tuple(status.value for status in WorkflowStatus)
_TASK_STATUS = tuple(status.value for status in TaskStatus)


def _by_name(*fields: Field) -> dict[str, Field]:
    return {field.name: field for field in fields}


FIELDS: dict[Subject, dict[str, Field]] = {
    Subject.WORKFLOW: _by_name(
        Field("workflowId", Kind.ID),
        Field("correlationId", Kind.TEXT),
        Field("workflowType", Kind.TEXT),
        Field("version", Kind.NUMBER),
        Field("status", Kind.WORD, _WORKFLOW_STATUS),
        Field("startTime", Kind.INSTANT),
        Field("updateTime", Kind.INSTANT),
        Field("endTime", Kind.INSTANT),
        Field("parentWorkflowId", Kind.ID, can_be_empty=True),
        Field("reasonForIncompletion", Kind.TEXT),
        Field("priority", Kind.NUMBER),
        Field("dialect", Kind.TEXT),
        Field("owner", Kind.TEXT),
    ),
    Subject.TASK: _by_name(
        Field("taskId", Kind.ID),
        Field("taskType", Kind.TEXT),
        Field("taskDefName", Kind.TEXT),
        Field("referenceTaskName", Kind.TEXT),
        Field("workflowId", Kind.ID),
        Field("workflowType", Kind.TEXT),
        Field("correlationId", Kind.TEXT),
        Field("status", Kind.WORD, _TASK_STATUS),
        Field("scheduledTime", Kind.INSTANT),
        Field("startTime", Kind.INSTANT),
        Field("updateTime", Kind.INSTANT),
        Field("endTime", Kind.INSTANT),
        Field("reasonForIncompletion", Kind.TEXT),
    ),
}

# The texts that free text looks into. Payloads are not among them.
FREE_TEXT_FIELDS = {
    Subject.WORKFLOW: ("workflowId", "correlationId", "workflowType", "reasonForIncompletion"),
    Subject.TASK: (
        "taskId",
        "taskDefName",
        "referenceTaskName",
        "workflowId",
        "workflowType",
        "correlationId",
        "reasonForIncompletion",
    ),
}


class Comparison(msgspec.Struct, frozen=True):
    """What a field is compared with.

    ``operator``: "IN" (equal to one of ``values``), "LIKE" (one pattern, ``*`` stands for any
    characters), or "<", "<=", ">", ">=" with one whole number. An instant that is absent
    satisfies none of the last four.
    """

    field: Field
    operator: str
    values: tuple[str | int, ...]
    is_negated: bool = False


class Every(msgspec.Struct, frozen=True):
    """All parts hold."""

    parts: tuple["Condition", ...]


class Some(msgspec.Struct, frozen=True):
    """At least one part holds."""

    parts: tuple["Condition", ...]


Condition = Comparison | Every | Some


class Query(msgspec.Struct, frozen=True):
    """What is searched for; without a condition and free text: everything.

    ``free_text`` has to be part of one of ``FREE_TEXT_FIELDS``, ASCII letters in either case.
    """

    subject: Subject
    where: Condition | None = None
    free_text: str = ""


class Sort(msgspec.Struct, frozen=True):
    """A key of the order; text is compared by code points."""

    field: Field
    is_descending: bool = False


# Newest first. What is equal by all keys is in the order of ids, tasks the newest first: ids
# of tasks are in the order of creation.
DEFAULT_SORT = {
    Subject.WORKFLOW: (Sort(FIELDS[Subject.WORKFLOW]["startTime"], is_descending=True),),
    Subject.TASK: (Sort(FIELDS[Subject.TASK]["taskId"], is_descending=True),),
}


class FoundTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task with its run's header; payloads come without their bytes, for ``Store.fetch``."""

    workflow: Workflow
    task: Task
    lease: Lease | None
    input: Payload | None
    output: Payload | None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Some of what was found. ``is_exact`` False: there are at least ``total``."""

    items: list[T]
    total: int
    is_exact: bool = True


def count_limit(start: int, size: int) -> int:
    """Return how many hits are counted for a page.

    One page further than asked, so that who turns pages until ``total`` comes to the end.
    """
    return max(TOTAL_EXACT_MAX, start + 2 * size)


def page_of(items: list[T], count: int, limit: int) -> Page[T]:
    """Return a page; ``count`` hits were found when at most ``limit + 1`` were counted."""
    return Page(items=items, total=min(count, limit), is_exact=count <= limit)
