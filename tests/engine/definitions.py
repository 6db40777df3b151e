"""Workflow definitions that the tests of the engine run."""

from typing import Any

Document = dict[str, Any]


def simple(reference_name: str, task_type: str = "step", **fields: Any) -> Document:
    """Return a worker task."""
    return {
        "name": task_type,
        "taskReferenceName": reference_name,
        "type": "SIMPLE",
        "inputParameters": {"x": "${workflow.input.x}"},
        **fields,
    }


def workflow(name: str, *tasks: Document, **fields: Any) -> Document:
    """Return a workflow definition."""
    return {"name": name, "version": 1, "tasks": list(tasks), **fields}


def chain(name: str, length: int, task_type: str = "step", **fields: Any) -> Document:
    """Return worker tasks one after the other."""
    steps = [simple(f"s{number}", task_type) for number in range(length)]
    return workflow(name, *steps, **fields)


def fork(name: str, width: int, task_type: str = "step") -> Document:
    """Return worker tasks beside each other, joined."""
    return workflow(
        name,
        {
            "name": "fork",
            "taskReferenceName": "fork",
            "type": "FORK_JOIN",
            "forkTasks": [[simple(f"b{number}", task_type)] for number in range(width)],
        },
        {
            "name": "join",
            "taskReferenceName": "join",
            "type": "JOIN",
            "joinOn": [f"b{number}" for number in range(width)],
        },
    )


def child(reference_name: str, name: str, **fields: Any) -> Document:
    """Return a task that runs another workflow."""
    return {
        "name": reference_name,
        "taskReferenceName": reference_name,
        "type": "SUB_WORKFLOW",
        "inputParameters": {"x": "${workflow.input.x}"},
        "subWorkflowParam": {"name": name},
        **fields,
    }


def wait(reference_name: str, duration: str) -> Document:
    """Return a task that waits for a time."""
    return {
        "name": reference_name,
        "taskReferenceName": reference_name,
        "type": "WAIT",
        "inputParameters": {"duration": duration},
    }


def loop(reference_name: str, times: int, *inner: Document) -> Document:
    """Return tasks that are repeated a fixed number of times."""
    condition = f"if ($.{reference_name}['iteration'] < {times}) {{ true; }} else {{ false; }}"
    return {
        "name": reference_name,
        "taskReferenceName": reference_name,
        "type": "DO_WHILE",
        "loopCondition": condition,
        "loopOver": list(inner),
    }


def task_def(name: str, **fields: Any) -> Document:
    """Return a task definition: tried again at once, three times."""
    return {
        "name": name,
        "retryCount": 3,
        "retryDelaySeconds": 0,
        "timeoutSeconds": 0,
        "responseTimeoutSeconds": 60,
        "ownerEmail": "a@example.org",
        **fields,
    }
