"""Judging definitions as a server would, without one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from batuta.cli.file import is_workflow
from batuta.core.definition.lint import lint
from batuta.core.definition.normalize import read_task_def, read_workflow_def
from batuta.core.definition.validate import validate_task_def, validate_workflow_def
from batuta.core.definition.warning import Warned
from batuta.model.definition import TaskDef, WorkflowDef
from batuta.model.error import Fault, InvalidError


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One fault or warning: ``path`` as in validationErrors, ``code`` as in lint.md or FAULT."""

    path: str
    code: str
    message: str


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A definition with its ``faults``, for which it is refused, and its ``warnings``."""

    where: str
    kind: str
    name: str
    version: int | None = None
    faults: list[Place] = []
    warnings: list[Place] = []


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a server knows besides: its task definitions, and the types that workers poll."""

    tasks: list[dict[str, Any]] = []
    polled: frozenset[str] | None = None


def judge(
    found: Sequence[tuple[str, dict[str, Any]]],
    known: Known,
    *,
    is_strict: bool,
    ignored: Collection[str] = (),
) -> list[Judged]:
    """Judge definitions, each beside its place; what is given beats what a server knows.

    Args:
        is_strict: Also refuse what Conductor refuses.
        ignored: Codes of warnings that are left out.
    """
    task_defs: dict[str, TaskDef] = {}
    for document in [*known.tasks, *(one for _, one in found if not is_workflow(one))]:
        read, _ = _read(document, read_task_def, is_strict=is_strict)
        if read is not None:
            task_defs[read.name] = read
    return [
        _workflow(where, document, task_defs, known.polled, is_strict, ignored)
        if is_workflow(document)
        else _task(where, document, is_strict=is_strict)
        for where, document in found
    ]


def _workflow(
    where: str,
    document: dict[str, Any],
    task_defs: Mapping[str, TaskDef],
    polled: Collection[str] | None,
    is_strict: bool,
    ignored: Collection[str],
) -> Judged:
    definition: WorkflowDef | None
    definition, faults = _read(document, read_workflow_def, is_strict=is_strict)
    warnings: list[Warned] = []
    if definition is not None:
        faults = validate_workflow_def(definition, strict=is_strict, task_defs=task_defs)
        warnings = lint(definition, task_defs=task_defs, polled=polled)
    return Judged(
        where=where,
        kind="workflow",
        name=document["name"],
        version=definition.version if definition is not None else None,
        faults=_places(faults),
        warnings=[
            Place(path=one.path, code=one.code.value, message=one.message)
            for one in warnings
            if one.code not in ignored and one.path not in {fault.path for fault in faults}
        ],
    )


def _task(where: str, document: dict[str, Any], *, is_strict: bool) -> Judged:
    definition: TaskDef | None
    definition, faults = _read(document, read_task_def, is_strict=is_strict)
    if definition is not None:
        faults = validate_task_def(definition, strict=is_strict)
    return Judged(where=where, kind="task", name=document["name"], faults=_places(faults))


def _read(
    document: dict[str, Any], read: Callable[..., Any], *, is_strict: bool
) -> tuple[Any, Sequence[Fault]]:
    try:
        return read(document, strict=is_strict), ()
    except InvalidError as error:
        return None, error.faults or (Fault("", error.message),)


def _places(faults: Sequence[Fault]) -> list[Place]:
    return [Place(path=one.path, code="FAULT", message=one.message) for one in faults]
