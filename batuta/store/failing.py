"""Rows whose command failed: how often, why, and when they are tried again.

A Send, a timer or the end of a lease is a row that becomes a command when it is due. When
deciding that command raises, the row itself keeps the failure, so that every node knows of it
and a restart forgets nothing. The runtime says when a row is quarantined; a store only keeps
it away from ``due`` until then, or until it is re-armed.
"""

from typing import Protocol

import msgspec

SEND = "SEND"  # the kind of a Send's row
LEASE = "LEASE"  # the kind of a lease's; a timer's is its TimerKind
ERROR_CHARS_MAX = 1_000  # of an error's text that a row keeps
FAILING_MAX = 1_000  # rows that one question gives


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A row that failed ``attempts`` times, the last time by ``error``.

    ``workflow_id`` is the run that the command is for. ``task_id`` is of a timer or a lease.
    ``mark`` tells the row from one that took its place: the id of a Send, the due time of a
    timer, the poll count of a lease. ``retry_at_ms`` None: it is quarantined.
    """

    workflow_id: str
    kind: str
    task_id: str = ""
    mark: int
    attempts: int
    error: str
    retry_at_ms: int | None


class Quarantine(Protocol):
    """What failed. A row that is written anew, renewed or gone has not failed any more."""

    async def note_failure(self, failing: Failing) -> bool:
        """Write a failure into its row; durable when it returns.

        Returns:
            False, and nothing is written: the row is gone, another took its place, or another
            node has counted this attempt (it does not have ``attempts`` - 1 failures).
        """
        ...

    async def failing(
        self, workflow_id: str | None = None, *, limit: int = FAILING_MAX
    ) -> list[Failing]:
        """Return the rows that have failed, quarantined ones first; None: those of all runs."""
        ...

    async def rearm(self, workflow_id: str | None = None) -> int:
        """Let quarantined rows be due again as if they had never failed; return how many.

        None: those of all runs.
        """
        ...
