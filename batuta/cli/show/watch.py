"""Showing a run until it ends: repainted on a terminal, a line for each change elsewhere."""

import re
import shutil
import sys
import time
from typing import Any

from batuta.cli.client import Client, quoted
from batuta.cli.exit import UnreachableError
from batuta.cli.show.stream import pause
from batuta.cli.show.style import Style
from batuta.cli.show.tree import headline, task_line, tree_lines
from batuta.runtime.clock import wall_ms

EVERY_S = 0.2  # how often a run is read; a person sees no difference below
READING_SHARE = 10  # a run so large that reading it takes long is read less often
ABSENCE_S = 30.0  # a server that restarts is waited for this long
TERMINAL = frozenset({"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"})

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def watch(
    client: Client, workflow_id: str, timeout_s: float | None = None
) -> dict[str, Any] | None:
    """Show a run until it has ended and give it; None when the time was over first.

    Raises:
        UnreachableError: The server was away for longer than ABSENCE_S.
    """
    screen = _Screen(Style())
    seen_at_s = began_at_s = time.monotonic()
    while timeout_s is None or time.monotonic() - began_at_s < timeout_s:
        read_at_s = time.monotonic()
        try:
            run: dict[str, Any] = client.get(f"/workflow/{quoted(workflow_id)}?includeTasks=true")
        except UnreachableError:
            if time.monotonic() - seen_at_s > ABSENCE_S:
                raise
        else:
            seen_at_s = time.monotonic()
            screen.show(run)
            if run["status"] in TERMINAL:
                return run
        pause(max(EVERY_S, (time.monotonic() - read_at_s) * READING_SHARE))
    return None


class _Screen:
    """What was shown so far."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._lines_shown = 0
        self._statuses: dict[str, str] = {}
        self._status = ""

    def show(self, run: dict[str, Any]) -> None:
        """Show what is new."""
        if self._style.is_live:
            self._repaint(tree_lines(run, wall_ms(), self._style))
        else:
            self._append(run)

    def _repaint(self, lines: list[str]) -> None:
        size = shutil.get_terminal_size()
        # a line that wraps would count as two when the cursor goes back up
        shown = [_cut(line, size.columns - 1) for line in lines[-(size.lines - 1) :]]
        back = f"\x1b[{self._lines_shown}F" if self._lines_shown else ""
        sys.stdout.write(back + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
        sys.stdout.flush()
        self._lines_shown = len(shown)

    def _append(self, run: dict[str, Any]) -> None:
        for task in run.get("tasks") or []:
            if self._statuses.get(task["taskId"]) == task["status"]:
                continue
            self._statuses[task["taskId"]] = task["status"]
            print("  " + task_line(task, wall_ms(), self._style, has_status=True), flush=True)
        if run["status"] != self._status:
            self._status = run["status"]
            print(headline(run, wall_ms(), self._style), flush=True)


def _cut(line: str, columns: int) -> str:
    if len(_COLOUR.sub("", line)) <= columns:
        return line
    kept, length = "", 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if _COLOUR.fullmatch(part):
            kept += part
        else:
            kept += part[: max(0, columns - length)]
            length += len(part)
    return kept
