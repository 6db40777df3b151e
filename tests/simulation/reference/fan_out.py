"""FORK_JOIN_DYNAMIC: the branches that its input asks for. Source: semantics.md c.7."""

from typing import TYPE_CHECKING, Any

import msgspec

from batuta.model.definition import SubWorkflowParams, WorkflowTask
from batuta.model.execution import TaskStatus
from tests.simulation.reference.fact import UncoveredError
from tests.simulation.reference.place import Place

if TYPE_CHECKING:
    from tests.simulation.reference.machine import Machine
    from tests.simulation.reference.made import Made


def begin(machine: "Machine", made: "Made") -> None:
    """Make the branches and the JOIN behind them; the fork itself is complete."""
    # The same names in each pass of a loop: what the run had when it came to the fork first.
    own = made.node.task_reference_name
    if machine.forks.get(own) is None:
        machine.forks[own] = not machine.forks.keys() - {own}
    loops = set(made.place.loops)
    for other in machine.forks:
        if other != own and loops & set(machine.map.places[other].loops):
            raise UncoveredError("fork-names: of two in one loop nobody says which was first")
    branches = _branches(machine, made)
    names = [branch.task_reference_name for branch in branches or []]
    is_taken = any(name + made.suffix in machine.latest for name in names)
    if branches is None or is_taken or len(set(names)) < len(names):
        machine.end(made, TaskStatus.FAILED)
        machine.forks[own] = None  # it has named none
        return
    made.status = TaskStatus.COMPLETED
    made.is_followed = True
    made.branches = [Place(branch, None, made.place, made.place.loops) for branch in branches]
    for place in made.branches:
        machine.schedule(place.node, made.suffix, place)
    behind = made.place.behind
    if behind is None or behind.type != "JOIN":
        raise UncoveredError("a dynamic fork without a JOIN")
    join = machine.schedule(behind, made.suffix)
    if join is not None:
        join.joins = tuple(name + made.suffix for name in names)


def _branches(machine: "Machine", made: "Made") -> list[WorkflowTask] | None:
    """Return the branches' nodes; None when the input is of no form."""
    node, values = made.node, made.input
    if isinstance(values.get("forkTaskInputs"), list):
        return _of_items(machine, made)
    if node.dynamic_fork_tasks_param:
        listed = values.get(node.dynamic_fork_tasks_param)
        inputs = values.get(node.dynamic_fork_tasks_input_param_name or "")
        if not isinstance(inputs, dict):
            return None
        tasks = msgspec.convert(listed, list[WorkflowTask])
        return [_with(task, inputs.get(task.task_reference_name, {})) for task in tasks]
    if node.dynamic_fork_join_tasks_param:
        wanted = values[node.dynamic_fork_join_tasks_param]["dynamicTasks"]
        return [
            WorkflowTask(
                name=one["taskName"],
                task_reference_name=one["referenceName"],
                input_parameters=one["input"],
            )
            for one in wanted
        ]
    return None


def _with(task: WorkflowTask, given: dict[str, Any]) -> WorkflowTask:
    return msgspec.structs.replace(task, input_parameters={**task.input_parameters, **given})


def _of_items(machine: "Machine", made: "Made") -> list[WorkflowTask]:
    values, fork = made.input, made.node.task_reference_name
    name = values.get("forkTaskName") or fork
    child = values.get("forkTaskWorkflow")
    prefix = f"_{name}_" if machine.forks[fork] else f"_{fork}_{name}_"
    found = []
    for index, item in enumerate(values["forkTaskInputs"]):
        given = item if isinstance(item, dict) else {"input": item}
        said = {key: given[key] for key in ("optional", "retryCount") if key in given}
        found.append(
            WorkflowTask(
                name=name,
                task_reference_name=f"{prefix}{index}",
                type="SUB_WORKFLOW" if child else values.get("forkTaskType") or "SIMPLE",
                input_parameters={**given, "__index": index},
                sub_workflow_param=SubWorkflowParams(name=child) if child else None,
                optional=said.get("optional", made.node.optional),
                retry_count=said.get("retryCount"),
            )
        )
    return found
