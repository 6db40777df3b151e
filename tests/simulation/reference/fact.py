"""What the world tells a run: the only input of the reference beside definition and input."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from batuta.model.definition import TaskDef, WorkflowDef
from batuta.model.execution import TaskStatus

Attempt = tuple[str, int]  # full reference name, retry count


class Registered(msgspec.Struct, frozen=True):
    """A definition with its task definitions, as they were when a run started."""

    workflow: WorkflowDef
    task_defs: dict[str, TaskDef] = {}


@dataclass(frozen=True)
class Ending:
    """How an attempt ended outside: by its worker, its time, its child, or somebody's hand."""

    status: TaskStatus
    output: Any
    reason: str


@dataclass(frozen=True)
class Given:
    """A value that may be null."""

    value: Any


@dataclass
class Fact:
    """One command that a run took, without what came of it."""

    kind: str
    at_ms: int
    endings: dict[Attempt, Ending] = field(default_factory=dict)  # of attempts that were open
    at_once: dict[Attempt, Ending] = field(default_factory=dict)  # of those made by this command
    cancelled: dict[str, tuple[str, int, Ending]] = field(default_factory=dict)  # by task id
    reopened: set[str] = field(default_factory=set)  # open again in place, by name
    due: list[Attempt] = field(default_factory=list)  # whose delay was over
    skipped: dict[str, Any] = field(default_factory=dict)  # outputs by reference name
    origin: Attempt | None = None  # that a rerun is from; None when it is of everything
    task_input: Given | None = None  # which the rerun gives it in place of its own
    is_below: bool = False  # a revival by a rerun from a task of the child, or of its children
    order: dict[Attempt, int] = field(default_factory=dict)  # of a rerun: which was made first
    input: Any = None  # of the run, where a rerun gives another
    correlation_id: str | None = None
    is_over: bool = False  # the time of the whole run was; or an ended one was terminated too


class UncoveredError(Exception):
    """The reference does not say what a run does from here on."""
