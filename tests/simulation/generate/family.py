"""Random tasks that start other runs, and forks whose branches come out of their input."""

import random
from typing import Any

from tests.simulation.generate.leaf import Document, N, leniently, of
from tests.simulation.generate.task import QUEUES

ITEMS = "${workflow.input.items}"
_GIVEN = {"n": N, "items": ITEMS}  # to each sub-workflow


def child(chance: random.Random, ref: str, children: list[str]) -> Document:
    """Return a SUB_WORKFLOW of a registered definition: the latest, or one version of it."""
    params: Document = {"name": chance.choice(children)}
    if chance.random() < 0.3:
        params["version"] = 1
    if chance.random() < 0.2:
        params |= {"taskToDomain": {"*": "east"}, "priority": 5}
    return _tried(chance, of("SUB_WORKFLOW", ref, _GIVEN, subWorkflowParam=params))


def inline_child(chance: random.Random, ref: str, tasks: list[Document]) -> Document:
    """Return a SUB_WORKFLOW that brings its definition along."""
    document = {"name": f"inline_{ref}", "version": 1, "tasks": tasks}
    params = {"name": document["name"], "workflowDefinition": document}
    return _tried(chance, of("SUB_WORKFLOW", ref, _GIVEN, subWorkflowParam=params))


def _tried(chance: random.Random, task: Document) -> Document:
    if chance.random() < 0.2:
        task["retryCount"] = 1
    if chance.random() < 0.1:
        task["startDelay"] = 1
    return leniently(chance, task)


def start_other(chance: random.Random, ref: str, children: list[str]) -> Document:
    """Return a START_WORKFLOW; seldom of a definition that nobody has registered."""
    name = "nobody" if chance.random() < 0.1 else chance.choice(children)
    return leniently(chance, of("START_WORKFLOW", ref, {"startWorkflow": {"name": name}}))


def dynamic_fork(chance: random.Random, ref: str, join: str, children: list[str]) -> list[Document]:
    """Return a FORK_JOIN_DYNAMIC of one of its forms, with its JOIN."""
    forms = [_of_items, _of_items, _of_tasks, _of_names]
    task = chance.choice(forms)(chance, ref, children)
    if chance.random() < 0.1:
        task["optional"] = True
    return [task, of("JOIN", join, {}, joinOn=[])]


def _of_items(chance: random.Random, ref: str, children: list[str]) -> Document:
    listed: list[Any] = [1, {"k": 2}, "three", {"k": 4, "optional": True}, {"retryCount": 0}]
    items: Any = ITEMS if chance.random() < 0.3 else listed[: chance.randint(0, 4)]
    inputs: Document = {"forkTaskInputs": items, "forkTaskName": chance.choice(QUEUES)}
    if children and chance.random() < 0.3:
        inputs["forkTaskWorkflow"] = chance.choice(children)
    elif chance.random() < 0.2:
        inputs["forkTaskType"] = "NOOP"
    return of("FORK_JOIN_DYNAMIC", ref, inputs)


def _of_tasks(chance: random.Random, ref: str, children: list[str]) -> Document:
    tasks: list[Document] = []
    inputs: Document = {}
    for number in range(chance.randint(0, 3)):
        name = f"{ref}b{number}"
        task = {"name": chance.choice(QUEUES), "taskReferenceName": name, "type": "SIMPLE"}
        if chance.random() < 0.2:
            task = of("INLINE", name, {"expression": "$.n == 1"})
        elif children and chance.random() < 0.2:
            task = of("SUB_WORKFLOW", name, {}, subWorkflowParam={"name": chance.choice(children)})
        tasks.append(leniently(chance, task))
        if chance.random() < 0.7:
            inputs[name] = {"n": N}
    given: Document = {"tasks": tasks, "inputs": inputs}
    if chance.random() < 0.05:
        given["inputs"] = "no map"
    names = {"dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs"}
    return of("FORK_JOIN_DYNAMIC", ref, given, **names)


def _of_names(chance: random.Random, ref: str, _children: list[str]) -> Document:
    listed = [
        {"taskName": chance.choice(QUEUES), "referenceName": f"{ref}c{n}", "input": {"n": n}}
        for n in range(chance.randint(0, 3))
    ]
    if listed and chance.random() < 0.05:
        listed.append(listed[0])  # a name twice: the fork fails
    given = {"wanted": {"dynamicTasks": listed}}
    return of("FORK_JOIN_DYNAMIC", ref, given, dynamicForkJoinTasksParam="wanted")
