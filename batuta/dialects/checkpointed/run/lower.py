"""From a workflow's configuration to a workflow of the engine: a chain of tasks, one a step.

The definition is pinned with the run: a folder that changes afterwards does not change its steps.
"""

import re
from typing import Any

from batuta.core.definition.normalize import read_workflow_def
from batuta.core.expression.template import escaped
from batuta.model.definition import WorkflowDef

STEP = "checkpointed.step"  # the task type of every step
LEASE_S = 60  # of a step; renewed while it runs, so that a dead server's steps go on elsewhere
TIMEOUT_S = 600.0  # of a step whose configuration names none
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")  # no `__`, which marks passes of loops
_TAKEN = frozenset({"workflow"})  # in expressions it is the run itself


def references(steps: list[dict[str, Any]]) -> list[str]:
    """Return the reference names of steps: their own, where the engine can use those."""
    names = {step["name"] for step in steps}
    found = []
    for place, step in enumerate(steps):
        name = str(step["name"])
        if not _PLAIN.fullmatch(name) or name in _TAKEN:
            name = f"step{place}"
            while name in names:
                name += "x"
        found.append(name)
    return found


def lowered(config: dict[str, Any], *, retries_max: int) -> WorkflowDef:
    """Return the workflow that runs a configuration."""
    steps = config["steps"]
    names = references(steps)
    document = {
        "name": config["id"],
        "description": str(config.get("description") or ""),
        "version": 1,
        "schemaVersion": 2,
        "tasks": [_task(place, step, names, retries_max) for place, step in enumerate(steps)],
        "outputParameters": {"result": f"${{{names[-1]}.output.output}}"},
    }
    return read_workflow_def(document)


def timeout_s(step: dict[str, Any]) -> float:
    """Return how long a step may take."""
    return float(step.get("timeout_seconds") or TIMEOUT_S)


def _task(place: int, step: dict[str, Any], names: list[str], retries_max: int) -> dict[str, Any]:
    before = f"{names[place - 1]}.output.output" if place else "workflow.input.input"
    return {
        "name": STEP,
        "taskReferenceName": names[place],
        "type": "SIMPLE",
        "description": str(step.get("description") or ""),
        "inputParameters": {
            "stepIndex": place,
            "step": escaped(step),
            "input": f"${{{before}}}",
            "workflowId": "${workflow.input.workflow_id}",
            "options": "${workflow.input.options}",
            "userId": "${workflow.input.user_id}",
        },
        "taskDefinition": {
            "name": STEP,
            "retryCount": retries_max,
            "retryLogic": "FIXED",
            # The attempt itself sees how long it has to wait: that differs by the error.
            "retryDelaySeconds": 0,
            "responseTimeoutSeconds": LEASE_S,
            "timeoutSeconds": 0,
        },
    }
