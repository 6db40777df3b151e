"""What a store does about what is old: find it, and remove it in slices of a bounded size.

A store removes what it is told to; which runs those are is the business of ``runtime.keep``.
Whatever happens meanwhile, an open run, one whose parent is open, and one that a command has
moved on since it was found stay as they are.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from batuta.model.payload import Payload


class Ended(msgspec.Struct, frozen=True):
    """A run that had ended when it was found; it is purged only if it is still of this version."""

    workflow_id: str
    version: int


class Keep(Protocol):
    """Removing what nobody needs any more. Each method is one transaction."""

    async def ended_names(self) -> list[str]:
        """Return the names of the workflows that have ended runs, in order."""
        ...

    async def find_ended(
        self, name: str, statuses: Sequence[str], *, before_ms: int, keep_count: int, limit: int
    ) -> list[Ended]:
        """Return runs that are to go, those that ended first before the others.

        Left out are runs with an open ancestor, and those for which a Send is stored.

        Args:
            statuses: Of the runs; the others are neither found nor counted.
            before_ms: Whoever ended before it is to go; 0: age is no reason.
            keep_count: Whoever is not among the last so many is to go; 0: number is no reason.
        """
        ...

    async def purge(self, runs: Sequence[Ended], *, now_ms: int, rows_max: int) -> list[str]:
        """Remove runs that are as they were found; return the ids of those removed.

        Each gets a last journal entry of kind ``remove`` and actor ``retention``. Of their
        tasks at most ``rows_max`` are deleted, the rest by ``purge_removed``: nobody sees them.
        """
        ...

    async def purge_retired(self, *, before_ms: int, rows_max: int) -> int:
        """Delete retired tasks, with all they have, that were retired before that time.

        Returns:
            How many; fewer than ``rows_max``: there are no more.
        """
        ...

    async def purge_removed(
        self, *, before_ms: int, position_max: int | None, rows_max: int
    ) -> int:
        """Delete what is left of runs removed before that time: tasks, then the journal.

        The last row of the journal stays: it holds the position and store time.

        Args:
            position_max: Removals after it stay: a reader of the journal has not seen them. None:
                nobody reads it.

        Returns:
            How many rows; 0: nothing is left.
        """
        ...

    async def find_payloads(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload | None]:
        """Return payloads as ``Store.fetch``, and None for each that does not exist."""
        ...
