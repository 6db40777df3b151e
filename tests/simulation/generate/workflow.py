"""Random definitions over all operators of the engine, nested up to four deep."""

import random
from typing import Any

from tests.simulation.generate.task import CLEANUP
from tests.simulation.generate.writer import Writer


def workflow_definitions(
    chance: random.Random, *, count: int, shape: str = "", tasks_max: int = 0
) -> list[dict[str, Any]]:
    """Return ``count`` definitions and the failure workflow; later ones may start earlier ones."""
    simple = {"name": CLEANUP, "taskReferenceName": "tidy_up", "type": "SIMPLE"}
    found: list[dict[str, Any]] = [{"name": CLEANUP, "version": 1, "tasks": [simple]}]
    for number in range(count):
        names = [document["name"] for document in found[1:]]
        found.append(
            workflow_definition(
                chance, f"pipeline{number}", names, shape=shape, tasks_max=tasks_max
            )
        )
    return found


def workflow_definition(
    chance: random.Random, name: str, children: list[str], *, shape: str = "", tasks_max: int = 0
) -> dict[str, Any]:
    """Return one definition, which may start ``children``."""
    tasks = Writer(chance, children, shape, tasks_max).sequence(1)
    document: dict[str, Any] = {"name": name, "version": 1, "tasks": tasks}
    if chance.random() < 0.4:
        document["failureWorkflow"] = CLEANUP
    if chance.random() < 0.15:
        document["timeoutSeconds"] = chance.choice([15, 40])
        document["timeoutPolicy"] = chance.choice(["TIME_OUT_WF", "TIME_OUT_WF", "ALERT_ONLY"])
    if chance.random() < 0.3:
        document["outputParameters"] = {"n": "${workflow.input.n}", "v": "${workflow.variables.v}"}
    if chance.random() < 0.2:
        document["variables"] = {"v": "at first"}
    if chance.random() < 0.2:
        document["inputTemplate"] = {"n": 9, "more": "by default"}
    if chance.random() < 0.05:
        document["restartable"] = False
    return document
