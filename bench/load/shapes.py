"""The workflows that are measured: the same over HTTP and with workers in the server's process.

Every worker's task is a `bench_step` whose input is one small number; what differs is what the
engine has to do between two of them.
"""

import json
from typing import Any

import msgspec

TASK_TYPE = "bench_step"
TREE_WIDTH = 10  # branches of the root and of each of its children
IDLE_TASK_TYPE = "idle_step"  # of `idle_chain`, which no other worker polls


class Shape(msgspec.Struct, frozen=True):
    """A workflow and an input; ``tasks`` is how many tasks workers do in one run of it."""

    title: str
    workflow: str
    tasks: int
    input: bytes = b'{"x": 1}'


ONE_STEP = Shape("one_step", "one_step", 1)
TEN_STEPS = Shape("ten_steps", "ten_steps", 10)
IDLE_CHAIN = Shape("idle_chain", "idle_chain", 10)
PARKED = Shape("parked", "parked", 0)
UNPOLLED = Shape("unpolled", "unpolled", 1)
TREE = Shape("tree", "tree", TREE_WIDTH**2)


def fan_out(width: int) -> Shape:
    """Return a dynamic fork of ``width`` branches and its JOIN."""
    items = json.dumps({"items": [{"x": number} for number in range(width)]}).encode()
    return Shape(f"fan_out_{width}", "fan_out", width, items)


def loop(count: int) -> Shape:
    """Return a DO_WHILE of ``count`` passes, one task each, that keeps every pass."""
    return Shape(f"loop_{count}", "loop", count, b'{"x": 1, "count": %d}' % count)


def definitions() -> list[dict[str, Any]]:
    """Return all workflows as a client registers them."""
    return [
        _workflow("one_step", _steps(1, TASK_TYPE)),
        _workflow("ten_steps", _steps(10, TASK_TYPE)),
        _workflow("idle_chain", _steps(10, IDLE_TASK_TYPE)),
        _workflow("parked", [{"name": "wait", "taskReferenceName": "wait", "type": "WAIT"}]),
        _workflow("unpolled", _steps(1, "unpolled_step")),
        _workflow("fan_out", _FAN_OUT),
        _workflow("loop", [_LOOP]),
        _workflow("tree", _children("tree_branch")),
        _workflow("tree_branch", _children("one_step")),
    ]


def _workflow(name: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "version": 1, "schemaVersion": 2, "tasks": tasks}


def _steps(count: int, task_type: str) -> list[dict[str, Any]]:
    return [
        {
            "name": task_type,
            "taskReferenceName": f"s{number}",
            "type": "SIMPLE",
            "inputParameters": {"x": "${workflow.input.x}"},
        }
        for number in range(count)
    ]


_FAN_OUT: list[dict[str, Any]] = [
    {
        "name": "fork",
        "taskReferenceName": "fork",
        "type": "FORK_JOIN_DYNAMIC",
        "inputParameters": {
            "forkTaskName": TASK_TYPE,
            "forkTaskInputs": "${workflow.input.items}",
        },
    },
    {"name": "join", "taskReferenceName": "join", "type": "JOIN"},
]

_LOOP: dict[str, Any] = {
    "name": "loop",
    "taskReferenceName": "loop",
    "type": "DO_WHILE",
    "inputParameters": {"count": "${workflow.input.count}"},
    "loopCondition": "$.loop['iteration'] < $.count",
    "loopOver": _steps(1, TASK_TYPE),
}


def _children(name: str) -> list[dict[str, Any]]:
    children = [
        {
            "name": name,
            "taskReferenceName": f"c{number}",
            "type": "SUB_WORKFLOW",
            "subWorkflowParam": {"name": name, "version": 1},
            "inputParameters": {"x": "${workflow.input.x}"},
        }
        for number in range(TREE_WIDTH)
    ]
    names = [child["taskReferenceName"] for child in children]
    return [
        {
            "name": "fork",
            "taskReferenceName": "fork",
            "type": "FORK_JOIN",
            "forkTasks": [[child] for child in children],
        },
        {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": names},
    ]
