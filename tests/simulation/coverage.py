"""The changes of status that there may be, and which of them seeds have met.

Source: semantics.md b, with what Batuta adds: a lease is a row of its own, so that a worker's task
stays SCHEDULED while somebody has it, and IN_PROGRESS is a task of our own or one that is parked.
"""

from collections.abc import Iterable
from itertools import product

_OPEN = ("SCHEDULED", "IN_PROGRESS")
_ENDS = ("COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR", "TIMED_OUT", "CANCELED")
_RUN_ENDS = ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")

_TASK = {
    *product(["-"], [*_OPEN, "COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR", "SKIPPED"]),
    ("-", "COMPLETED_WITH_ERRORS"),  # an optional script that failed at once
    ("-", "CANCELED"),  # made and ended by one command
    *product(_OPEN, [*_ENDS, "COMPLETED_WITH_ERRORS"]),
    ("SCHEDULED", "IN_PROGRESS"),
    # Opened again in place: JOIN, DO_WHILE and SUB_WORKFLOW of a run that goes on.
    *product(["COMPLETED", "FAILED", "TIMED_OUT", "CANCELED"], ["IN_PROGRESS"]),
}
_WORKFLOW = {
    *product(["-", "RUNNING"], _RUN_ENDS),
    ("-", "RUNNING"),
    ("RUNNING", "PAUSED"),
    *product(["PAUSED"], ["RUNNING", "TIMED_OUT", "TERMINATED"]),
    *product(_RUN_ENDS, ["RUNNING"]),
    *product(["FAILED", "TIMED_OUT"], ["TERMINATED"]),
}
_WORKFLOW.remove(("-", "TIMED_OUT"))  # a run has some time before its time is over
DECLARED = frozenset(
    {("task", *change) for change in _TASK} | {("workflow", *change) for change in _WORKFLOW}
)


def covered(seen: Iterable[tuple[str, str, str]]) -> tuple[int, list[str]]:
    """Return how many of the declared changes were met, and which were not."""
    missing = DECLARED - set(seen)
    return len(DECLARED) - len(missing), sorted(" ".join(change) for change in missing)
