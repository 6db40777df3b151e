"""What keeps a run where it is: a cause, and the words all causes share."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from msgspec import field

NAMES_MAX = 20  # that one message lists; the rest is a number


class Code(StrEnum):
    """The kinds of causes. Programs branch on these words, so that they never change."""

    QUARANTINED = "QUARANTINED"  # a command of the engine itself failed too often
    FAILING = "FAILING"  # the same, while it is tried again
    RUN_ENDED = "RUN_ENDED"
    ATTEMPT_FAILED = "ATTEMPT_FAILED"  # part of why it ended so
    RUN_PAUSED = "RUN_PAUSED"
    NEVER_POLLED = "NEVER_POLLED"  # not since this server was started
    NOT_POLLED = "NOT_POLLED"  # no more
    IN_QUEUE = "IN_QUEUE"  # of a queue that is polled
    LIMIT_REACHED = "LIMIT_REACHED"  # of how many of its kind are held, or taken in a time
    LEASED = "LEASED"
    RETRY_AT = "RETRY_AT"
    CALLBACK_AT = "CALLBACK_AT"
    START_AT = "START_AT"
    WAIT_UNTIL = "WAIT_UNTIL"
    WAIT_FOR_REPORT = "WAIT_FOR_REPORT"
    HUMAN_OPEN = "HUMAN_OPEN"
    PARKED = "PARKED"  # its worker said that somebody else will report
    MESSAGE_UNDER_WAY = "MESSAGE_UNDER_WAY"
    JOIN_WAITS = "JOIN_WAITS"
    LOOP_PASS = "LOOP_PASS"  # noqa: S105  a pass of a loop
    DAG_OPEN = "DAG_OPEN"  # nodes of it run
    CHILD_RUNS = "CHILD_RUNS"
    CHILD_MISSING = "CHILD_MISSING"
    SETTLING = "SETTLING"  # the engine itself has the next step
    RUN_LIMIT = "RUN_LIMIT"


class Cause(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One thing that a run waits for, or that ended it. Times are Unix ms, 0 = not known.

    ``fix``: what to do about it; absent when there is nothing to do but wait. ``causes``: those
    of a sub-workflow's own run, named in ``child_id``.
    """

    code: Code
    message: str
    task_id: str | None = None
    reference: str | None = None
    queue: str | None = None
    since_ms: int = field(default=0, name="since")
    until_ms: int = field(default=0, name="until")
    fix: str | None = None
    child_id: str | None = None
    causes: list["Cause"] = []


class Why(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a run stands where it stands: the most telling cause first, and told in ``summary``.

    ``omitted``: causes that are alike and were left out of a long list.
    """

    workflow_id: str
    status: str
    summary: str
    causes: list[Cause]
    omitted: int
    at_ms: int = field(name="at")


def instant(at_ms: int) -> str:
    """Return a time as people and programs read it: ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def listed(names: Sequence[str]) -> str:
    """Return names in a row, a long list cut."""
    shown = ", ".join(names[:NAMES_MAX])
    more = len(names) - NAMES_MAX
    return f"{shown} and {more} more" if more > 0 else shown
