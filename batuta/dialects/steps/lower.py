"""From a definition of steps to a workflow of the engine: a chain of tasks, one for each step.

Each task carries the payload: it gets what the one before left in `state` and leaves its own. A
list that leads back into itself is a loop with a limit, since no step of it chooses.
"""

import re
from typing import Any

from batuta.core.definition.normalize import read_workflow_def
from batuta.dialects.steps.definition import Definition, Step
from batuta.dialects.steps.path import INITIAL, keys_of, step_named
from batuta.model.definition import WorkflowDef

NAME = "steps"  # of this front door
FUNCTION = "steps.function"  # the task type of every step
TRANSITIONS_MAX = 1_000  # from step to step in one instance; a circle ends FAILED there
LIMIT_REASON = f"Transition limit of {TRANSITIONS_MAX} reached; the steps lead back to each other."

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*")  # no `__`, which marks passes


def lowered(definition: Definition) -> WorkflowDef:
    """Return the workflow that runs a definition."""
    path, back = definition.path()
    refs: dict[str, str] = {}
    for place, step in enumerate(path):
        plain = step.id if _PLAIN.fullmatch(step.id) else f"step{place}"
        refs[step.id] = _free(plain, [*refs.values(), *(s.id for s in path if s is not step)])
    tasks = []
    for place, step in enumerate(path):
        before = [path[place - 1]] if place else []
        if place == back:
            before.append(path[-1])  # in the first pass it has left nothing yet
        tasks.append(_task(step, refs, [refs[one.id] for one in before]))
    if back is not None:
        passes = max((TRANSITIONS_MAX - back) // (len(path) - back), 1)
        taken = list(refs.values())
        loop, limit = _free("circle", taken), _free("limit", taken)
        tasks = [*tasks[:back], _loop(loop, tasks[back:], passes), _limit(limit)]
    document = {
        "name": definition.name,
        "description": definition.description or "",
        "version": 1,
        "schemaVersion": 2,
        "tasks": tasks,
    }
    return read_workflow_def(document)


def _free(name: str, taken: list[str]) -> str:
    """Return a name that nobody has: the one wished for, where it may be."""
    while name in taken:
        name += "x"
    return name


def _task(step: Step, refs: dict[str, str], before: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {
        "stepId": step.id,
        "stepName": step.name,
        "functionName": step.function_name,
        "inputPath": step.input_path,
        "resultPath": step.result_path,
        # The newest first; where none of them has run, the trigger's payload is the payload.
        "before": [f"${{{ref}.output.state}}" for ref in reversed(before)],
    }
    if not before or keys_of(step.input_path)[:1] == [INITIAL] or len(before) > 1:
        given["initial"] = "${workflow.input.payload}"
    read = step_named(step.input_path)
    if read in refs:
        ref = refs[read]
        given["steps"] = {
            read: {
                "input": f"${{{ref}.output.input}}",
                "output": f"${{{ref}.output.output}}",
                "status": f"${{{ref}.output.status}}",
                "error": f"${{{ref}.output.error}}",
            }
        }
    return {
        "name": FUNCTION,
        "taskReferenceName": refs[step.id],
        "type": "SIMPLE",
        "retryCount": 0,
        "inputParameters": _escaped(given),
    }


def _escaped(given: dict[str, Any]) -> dict[str, Any]:
    """Keep `${` in what the author wrote from being taken for an expression of the engine."""
    written = ("stepId", "stepName", "functionName", "inputPath", "resultPath")
    texts = {key: given[key].replace("${", "$${") for key in written if isinstance(given[key], str)}
    return {**given, **texts}


def _loop(name: str, tasks: list[dict[str, Any]], passes: int) -> dict[str, Any]:
    return {
        "name": name,
        "taskReferenceName": name,
        "type": "DO_WHILE",
        "loopCondition": f"$.{name}['iteration'] < {passes}",
        "inputParameters": {},
        "loopOver": tasks,
    }


def _limit(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "taskReferenceName": name,
        "type": "TERMINATE",
        "inputParameters": {"terminationStatus": "FAILED", "terminationReason": LIMIT_REASON},
    }
