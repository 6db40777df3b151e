"""Whether a run came to the end that was worked out for it."""

from collections import Counter
from typing import Any

from tests.corpus.crew import Crew
from tests.corpus.plausible import Json
from tests.corpus.walker import Prediction

# Ids are the engine's to choose.
_IDS = {"subWorkflowId", "workflowId"}
_FAILURE = "conductor.failure_workflow"


async def faults_of(
    crew: Crew, run: Json, expected: Prediction, definition: Json, where: str
) -> list[str]:
    """Name what is not as expected in a run and in its sub-workflows."""
    faults = [f"{where}: {one}" for one in _own_faults(run, expected, definition)]
    for task in run["tasks"]:
        child = expected.children.get(task["referenceTaskName"])
        if child is not None and task.get("subWorkflowId") and expected.is_exact:
            inner = await crew.run(task["subWorkflowId"])
            place = f"{where}/{task['referenceTaskName']}"
            faults += await faults_of(crew, inner, child, inner["workflowDefinition"], place)
    return faults


def _own_faults(run: Json, expected: Prediction, definition: Json) -> list[str]:
    faults = []
    if run["status"] != expected.status:
        why = run.get("reasonForIncompletion")
        faults.append(f"{run['status']} ({why}), not {expected.status}")
    trail = Counter((task["referenceTaskName"], task["status"]) for task in run["tasks"])
    if not expected.is_exact:
        trail = Counter({key: count for key, count in trail.items() if key[1] != "CANCELED"})
    missing, extra = expected.trail - trail, trail - expected.trail
    if extra or (missing and expected.is_exact):
        faults.append(f"did not run {dict(missing)}, ran {dict(extra)}")
    # Without outputParameters the output is that of the task created last; nobody predicts which.
    if definition.get("outputParameters") and expected.is_exact:
        output = dict(run["output"])
        failed = expected.status in {"FAILED", "TIMED_OUT"}
        if (output.pop(_FAILURE, None) is not None) is not (
            failed and bool(definition.get("failureWorkflow"))
        ):
            faults.append(f"failure workflow: {run['output']}")
        if _without_ids(output) != _without_ids(expected.output):
            faults.append(f"gives {output}, not {expected.output}")
    return faults


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "*" if key in _IDS else _without_ids(item) for key, item in value.items()}
    return [_without_ids(item) for item in value] if isinstance(value, list) else value
