"""Asking the engine about a run: what failed there, and which way it went."""

import os
from typing import Any
from urllib.parse import quote

from examples.firmware_ci.suite.web import ask_json

NAMES = ("BATUTA_SERVER_URL", "CONDUCTOR_SERVER_URL", "CONDUCTOR_URL")


def run_of(workflow_id: str) -> dict[str, Any]:
    """Give a run with its tasks, from the server that this worker was told in its environment.

    Raises:
        UnreachableError: There is no server, or no such run.
    """
    told = next((os.environ[name] for name in NAMES if os.environ.get(name)), "")
    base = (told or "http://127.0.0.1:8080").rstrip("/").removesuffix("/api")
    found: dict[str, Any] = ask_json(f"{base}/api/workflow/{quote(workflow_id, safe='')}")
    return found


def task_of(run: dict[str, Any], reference: str) -> dict[str, Any]:
    """Give the last attempt at a task of a run; {} where it has none."""
    found = [task for task in run["tasks"] if task["referenceTaskName"] == reference]
    last: dict[str, Any] = found[-1] if found else {}
    return last
