"""The forms in which a FORK_JOIN_DYNAMIC is told its branches. Source: semantics.md c.7."""

from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.core.definition.normalize import read_workflow_def
from batuta.core.graph import Node
from batuta.model.definition import NAME_CHARACTERS_MAX, SubWorkflowParams, WorkflowTask

# Fields of a WorkflowTask that an item of forkTaskInputs may carry, with the type they must have;
# any other value under the name is the item's own business.
_ITEM_FIELDS: dict[str, type] = {
    "optional": bool,
    "permissive": bool,
    "asyncComplete": bool,
    "retryCount": int,
    "startDelay": int,
}
_ITEM_NAMES = frozenset((*_ITEM_FIELDS, "taskToDomain"))


class Branch(msgspec.Struct, frozen=True):
    """One branch: its node's definition, which branches that are alike share, and its input."""

    reference_name: str
    task: WorkflowTask
    input: dict[str, Any]


def read_branches(node: Node, values: dict[str, Any], *, is_first: bool) -> list[Branch]:
    """Return the branches that a fork's input asks for.

    Args:
        is_first: No other dynamic fork has been reached in the run; only then the names that
            are made of an index do without the fork's own (gotchas.md 40).

    Raises:
        ValueError: The input is of no form; the message says why.
        InvalidError: A task of the list has a field of the wrong type.
    """
    task = node.task
    if isinstance(values.get("forkTaskInputs"), list):
        return _of_items(node, values, is_first=is_first)
    if task.dynamic_fork_tasks_param:
        return _of_tasks(task, values)
    if task.dynamic_fork_join_tasks_param:
        return _of_names(task, values)
    raise ValueError(
        f"forkTaskInputs of {node.reference_name!r} is {values.get('forkTaskInputs')!r}, not a list"
    )


def _of_items(node: Node, values: dict[str, Any], *, is_first: bool) -> list[Branch]:
    """Branches for the items of a list, all of one task or one workflow."""
    name = values.get("forkTaskName") or node.reference_name
    workflow, version = values.get("forkTaskWorkflow"), values.get("forkTaskWorkflowVersion")
    kind = "SUB_WORKFLOW" if workflow else values.get("forkTaskType") or "SIMPLE"
    for key, text in (("forkTaskName", name), ("forkTaskType", kind)):
        if not isinstance(text, str):
            raise ValueError(f"{key} {text!r} is not a text")  # noqa: TRY004  the run's data
        if len(text) > NAME_CHARACTERS_MAX:
            raise ValueError(f"{key} is longer than {NAME_CHARACTERS_MAX} characters")
    params = None
    if workflow:
        params = SubWorkflowParams(name=str(workflow), version=_version(version))
    common = WorkflowTask(
        name=name, type=kind, optional=node.task.optional, sub_workflow_param=params
    )
    prefix = f"_{name}_" if is_first else f"_{node.reference_name}_{name}_"
    variants: dict[tuple[Any, ...], WorkflowTask] = {(): common}
    branches = []
    for index, item in enumerate(values["forkTaskInputs"]):
        task = common
        if isinstance(item, dict):
            said = _item_key(item, is_child=bool(workflow))
            task = variants.get(said) or variants.setdefault(said, _variant(common, said))
            given = {**item, "__index": index}
        else:
            given = {"input": item, "__index": index}
        branches.append(Branch(f"{prefix}{index}", task, given))
    return branches


def _item_key(item: dict[str, Any], *, is_child: bool) -> tuple[Any, ...]:
    """Return what an item says of its task; () for most."""
    if _ITEM_NAMES.isdisjoint(item):
        return ()
    found: list[Any] = [
        (name, item[name]) for name, kind in _ITEM_FIELDS.items() if type(item.get(name)) is kind
    ]
    domains = item.get("taskToDomain")
    if is_child and isinstance(domains, dict):
        pairs = ((key, value) for key, value in domains.items() if isinstance(value, str))
        found.append(("taskToDomain", tuple(sorted(pairs))))
    return tuple(found)


def _variant(common: WorkflowTask, key: tuple[Any, ...]) -> WorkflowTask:
    """Return the common node with what an item says of it."""
    fields: dict[str, Any] = dict(key)
    domains = fields.pop("taskToDomain", None)
    if domains and common.sub_workflow_param:
        params = replace(common.sub_workflow_param, task_to_domain=dict(domains))
        common = replace(common, sub_workflow_param=params)
    names = {"asyncComplete": "async_complete", "retryCount": "retry_count"}
    names["startDelay"] = "start_delay"
    return replace(common, **{names.get(name, name): value for name, value in fields.items()})


def _of_tasks(fork: WorkflowTask, values: dict[str, Any]) -> list[Branch]:
    """Branches for a list of whole WorkflowTasks, with their inputs in a map beside it."""
    param, input_param = fork.dynamic_fork_tasks_param, fork.dynamic_fork_tasks_input_param_name
    listed, inputs = values.get(param or ""), values.get(input_param or "")
    tasks = _tasks(fork.task_reference_name, param, listed)
    if not isinstance(inputs, dict):
        raise ValueError(  # noqa: TRY004  a fault of the run's data
            "Input to the dynamically forked tasks is not a map -> expecting a map of K,V  but "
            f"found {inputs!r}"
        )
    branches = []
    for task in tasks:
        name = task.task_reference_name
        given = inputs.get(name)
        if given is not None and not isinstance(given, dict):
            raise ValueError(
                f"the input of the dynamically forked task {name!r} is not a map: {given!r}"
            )
        branches.append(_whole(name, task, {**task.input_parameters, **(given or {})}))
    return branches


def _of_names(fork: WorkflowTask, values: dict[str, Any]) -> list[Branch]:
    """Branches for ``{"dynamicTasks": [{taskName, referenceName, input, ...}]}``."""
    param = fork.dynamic_fork_join_tasks_param
    found = values.get(param or "")
    listed = found.get("dynamicTasks") if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ValueError(f"{param} is {found!r}, not an object with a list dynamicTasks")
    documents = []
    for item in listed:
        workflow, name = item.get("workflowName"), item.get("taskName")
        document = {
            "name": name or workflow,
            "taskReferenceName": item.get("referenceName"),
            "type": item.get("type") or "SIMPLE",
        }
        if workflow and document["type"] in {"SIMPLE", "SUB_WORKFLOW"}:
            document |= {"type": "SUB_WORKFLOW", "subWorkflowParam": {"name": workflow}}
        documents.append(document)
    tasks = _tasks(fork.task_reference_name, param, documents)
    branches = []
    for task, item in zip(tasks, listed, strict=True):
        given = item.get("input")
        if given is not None and not isinstance(given, dict):
            raise ValueError(f"the input of {task.task_reference_name!r} is not a map: {given!r}")
        branches.append(_whole(task.task_reference_name, task, given or {}))
    return branches


def _tasks(fork: str, param: str | None, listed: object) -> list[WorkflowTask]:
    if listed is None:
        return []  # as OSS: whoever made the list had nothing to put into it
    if not isinstance(listed, list):
        raise ValueError(  # noqa: TRY004  the run's data
            f"{param} of {fork!r} is {listed!r}, not a list of tasks"
        )
    tasks = read_workflow_def({"name": fork, "tasks": listed}).tasks
    for place, task in enumerate(tasks):
        if not task.task_reference_name or not (task.name or task.type != "SIMPLE"):
            raise ValueError(f"task {place} of {param} has no name or no taskReferenceName")
        words = (task.name, task.task_reference_name, task.type)
        if max(len(word) for word in words) > NAME_CHARACTERS_MAX:
            raise ValueError(f"task {place} of {param} has a name that is too long")
    return tasks


def _whole(name: str, task: WorkflowTask, given: dict[str, Any]) -> Branch:
    """Make a branch of a node of its own, without its inputs."""
    return Branch(name, replace(task, input_parameters={}), given)


def _version(value: object) -> int | None:
    try:
        return int(str(value)) if value not in (None, "") else None
    except ValueError:
        raise ValueError(f"forkTaskWorkflowVersion {value!r} is not a number") from None
