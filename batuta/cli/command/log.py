"""`batuta logs`: what the tasks of a run have logged, as far as it has come or until it ends."""

import json
import time
from typing import Any

from batuta.cli.command.call import Call
from batuta.cli.command.task import log_of
from batuta.cli.command.workflow import path_of
from batuta.cli.show.stream import pause
from batuta.cli.show.style import Style, clean
from batuta.cli.show.table import clock_text
from batuta.cli.show.watch import EVERY_S, READING_SHARE, TERMINAL
from batuta.model.error import NotFoundError

_OPEN = frozenset({"SCHEDULED", "IN_PROGRESS"})


def show_logs(call: Call, workflow_id: str, *, is_following: bool) -> None:
    """Print a run's log lines by time; following, those that come, until the run has ended.

    As JSON it is one list, and one document in each line when following.

    Raises:
        NotFoundError: There is no such run, or no run at all.
    """
    reader = _Reader(call, workflow_id or _newest(call))
    style = Style()
    while True:
        began_at_s = time.monotonic()
        has_ended, lines = reader.read()
        if call.is_json and not is_following:
            call.show(lines, [])
        for line in lines if is_following or not call.is_json else []:
            print(json.dumps(line) if call.is_json else _text(line, style), flush=True)
        if has_ended or not is_following:
            return
        pause(max(EVERY_S, (time.monotonic() - began_at_s) * READING_SHARE))


class _Reader:
    """What of a run's logs has been read."""

    def __init__(self, call: Call, workflow_id: str) -> None:
        self._call = call
        self._path = path_of(workflow_id)
        self._seen: dict[str, int] = {}
        self._closed: set[str] = set()

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether the run has ended, and the lines that are new, by time."""
        run = self._call.client.get(self._path)
        found = []
        for task in run["tasks"]:
            task_id = task["taskId"]
            if task_id in self._closed:
                continue
            lines = log_of(self._call, task_id)
            found += [line | _whose(task) for line in lines[self._seen.get(task_id, 0) :]]
            self._seen[task_id] = len(lines)
            if task["status"] not in _OPEN:
                self._closed.add(task_id)
        found.sort(key=lambda line: int(line["createdTime"]))
        return run["status"] in TERMINAL, found


def _whose(task: dict[str, Any]) -> dict[str, Any]:
    return {"reference": task["referenceTaskName"], "attempt": task["retryCount"] + 1}


def _text(line: dict[str, Any], style: Style) -> str:
    attempt = f" attempt {line['attempt']}" if line["attempt"] > 1 else ""
    whose = style.paint(f"{line['reference']}{attempt}:", "cyan")
    return f"{style.paint(clock_text(line['createdTime']), 'dim')}  {whose} {clean(line['log'])}"


def _newest(call: Call) -> str:
    recent = call.client.get("/batuta/status")["recent"]
    if not recent:
        raise NotFoundError(f"the server at {call.client.base} has no run yet")
    return str(recent[0]["workflowId"])
