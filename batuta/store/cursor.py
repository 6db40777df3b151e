"""How far each reader of the journal has come, and which node reads for it.

A reader is a sink: it delivers entries in order and then moves its cursor, so that after a crash
it begins where it left off, with what it had delivered last once more. Rows that a cursor has not
passed are kept by retention, up to a lag that `runtime.keep` is told.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """A reader's place: every entry up to ``position`` has been delivered.

    ``owner``: the node that reads for it, until store time is past ``until_ms``.
    """

    name: str
    position: int
    owner: str
    until_ms: int


class Cursors(Protocol):
    """The readers' places. Each method is one transaction, safe from several nodes at once."""

    async def take(self, name: str, owner: str, *, now_ms: int, until_ms: int) -> Cursor:
        """Make a cursor the owner's, when nobody else holds it, and return it as it is then.

        Held by ``owner`` itself, it is renewed. A new one begins at the journal's end.
        """
        ...

    async def move(self, name: str, owner: str, *, position: int, until_ms: int) -> bool:
        """Move a cursor on, never back, and renew it; False: it is not the owner's any more."""
        ...

    async def all(self) -> list[Cursor]:
        """Return all cursors, by name."""
        ...

    async def drop(self, name: str) -> bool:
        """Forget a reader for ever; False when there was none."""
        ...

    async def journal_end(self) -> int:
        """Return the position of the last entry; 0 when there is none."""
        ...

    async def unread(self, runs: Sequence[tuple[str, int]], position: int) -> set[str]:
        """Return those of ``(workflow_id, version)`` whose entry stands after a position."""
        ...
