"""Random task definitions: one a queue that workers poll, all policies and limits."""

import random
from typing import Any

QUEUES = ("build", "test", "sign", "ship", "scan")
REMOTE = "HTTP"  # a type of the engine's own whose tasks workers poll
UNKNOWN = "mystery"  # a queue without a task definition
CLEANUP = "cleanup"
EAST = "east"  # the domain that some workers poll
POLLED = (*QUEUES, REMOTE, UNKNOWN, CLEANUP)


def task_definitions(chance: random.Random) -> list[dict[str, Any]]:
    """Return one task definition a queue; their times are seconds of a virtual minute."""
    found = [_task_definition(chance, name) for name in QUEUES]
    found.append({"name": CLEANUP, "retryCount": 3, "retryDelaySeconds": 0, "timeoutSeconds": 0,
                  "responseTimeoutSeconds": 5})  # fmt: skip
    return found


def _task_definition(chance: random.Random, name: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": name,
        "retryCount": chance.choice([0, 1, 2, 3]),
        "retryDelaySeconds": chance.choice([0, 0, 1, 3]),
        "retryLogic": chance.choice(["FIXED", "LINEAR_BACKOFF", "EXPONENTIAL_BACKOFF"]),
        "backoffScaleFactor": chance.choice([1, 2]),
        "responseTimeoutSeconds": chance.choice([2, 5, 10]),
        "timeoutSeconds": 0,
        "timeoutPolicy": chance.choice(["RETRY", "RETRY", "TIME_OUT_WF", "ALERT_ONLY"]),
    }
    if chance.random() < 0.3:
        document["timeoutSeconds"] = chance.choice([10, 20])
    if chance.random() < 0.2:
        document["pollTimeoutSeconds"] = chance.choice([5, 15])
    if chance.random() < 0.15:
        document["totalTimeoutSeconds"] = chance.choice([20, 60])
    if chance.random() < 0.2:
        document["maxRetryDelaySeconds"] = 4
    if chance.random() < 0.1:
        document["backoffJitterMs"] = 500
    if chance.random() < 0.15:
        document["concurrentExecLimit"] = chance.choice([1, 1, 2])
    if chance.random() < 0.15:
        document["rateLimitPerFrequency"] = chance.choice([1, 2])
        document["rateLimitFrequencyInSeconds"] = chance.choice([1, 3])
    if chance.random() < 0.2:
        document["inputTemplate"] = {"n": "from the template", "extra": "${workflow.input.n}"}
    return document
