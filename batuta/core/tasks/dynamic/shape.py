"""The JSON of a node that the run makes: small, because each task of the node carries it."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from batuta.core.draft import Draft
from batuta.core.graph import inner_lists, with_lists
from batuta.model.change import NeedTaskDefs
from batuta.model.definition import TaskDef, WorkflowTask

# A node with lists inside is carried by all its tasks; without, it is a name and little more.
SHAPE_BYTES_MAX = 64 * 1024


def shape_of(task: WorkflowTask) -> str:
    """Return the node as JSON without its reference name and whatever is as it is by default.

    Raises:
        ValueError: It is larger than SHAPE_BYTES_MAX.
    """
    text = msgspec.json.encode(_document(task, {"task_reference_name"})).decode()
    if len(text) > SHAPE_BYTES_MAX:
        raise ValueError(
            f"dynamic task {task.task_reference_name!r} is defined by {len(text)} bytes, more than "
            f"{SHAPE_BYTES_MAX}; register it as a workflow and start it by SUB_WORKFLOW"
        )
    return text


def task_defs_of(draft: Draft, tasks: Iterator[WorkflowTask]) -> Mapping[str, TaskDef] | None:
    """Return the registered task definitions that the run's snapshot does not have.

    None while they are asked for; the draft is then not used.
    """
    known = draft.execution.graph.snapshot.task_defs
    names = {inner.name for task in tasks for inner in with_inner(task) if inner.name not in known}
    if not names:
        return {}
    found = draft.answer(NeedTaskDefs(tuple(sorted(names))))
    return found if isinstance(found, dict) else None


def with_inner(task: WorkflowTask) -> Iterator[WorkflowTask]:
    """Yield a node and those inside it, at any depth."""
    yield task
    for tasks in inner_lists(task):
        for inner in tasks:
            yield from with_inner(inner)


def embedded(task: WorkflowTask, task_defs: Mapping[str, TaskDef]) -> WorkflowTask:
    """Return the node with its task definitions in it, and in the nodes inside it."""

    def embed(tasks: list[WorkflowTask]) -> list[WorkflowTask]:
        return [embedded(inner, task_defs) for inner in tasks]

    own = task.task_definition or task_defs.get(task.name)
    return with_lists(task, embed, task_definition=own)


@functools.cache
def _fields(cls: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return what a struct's fields are; asking each time cost most of a dynamic fork's time."""
    return msgspec.structs.fields(cls)


def _document(value: Any, left_out: set[str] | None = None) -> Any:
    """Return a struct's fields that are not as by default, by their name in JSON."""
    if isinstance(value, msgspec.Struct):
        found = {}
        for field in _fields(type(value)):
            own = getattr(value, field.name)
            is_empty = field.default_factory in (list, dict) and not own
            is_default = is_empty or own == field.default
            if not is_default and field.name not in (left_out or ()):
                found[field.encode_name] = _document(own)
        return found
    if isinstance(value, list):
        return [_document(item) for item in value]
    if isinstance(value, dict):
        return {key: _document(item) for key, item in value.items()}
    return value
