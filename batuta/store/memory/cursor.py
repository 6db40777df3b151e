"""The readers of the journal, in memory. See ``store.cursor`` for the promises."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from batuta.store.cursor import Cursor
from batuta.store.memory.rows import State


class MemoryCursors:
    """Keeps the cursors in the state, so that they outlive a store as the rest does.

    Args:
        reach: Awaited before each access; the store's pause, or its refusal when it is closed.
    """

    def __init__(self, state: State, reach: Callable[[str], Awaitable[None]]) -> None:
        self._state = state
        self._reach = reach

    async def take(self, name: str, owner: str, *, now_ms: int, until_ms: int) -> Cursor:
        """Make a cursor the owner's; see ``Cursors.take``."""
        await self._reach("journal")
        cursors = self._state.cursors
        taken = cursors.get(name)
        if taken is None:
            position = self._state.position_last
            taken = Cursor(name=name, position=position, owner=owner, until_ms=until_ms)
        elif taken.owner == owner or taken.until_ms < now_ms:
            taken = replace(taken, owner=owner, until_ms=until_ms)
        cursors[name] = taken
        return taken

    async def move(self, name: str, owner: str, *, position: int, until_ms: int) -> bool:
        """Move a cursor on; see ``Cursors.move``."""
        await self._reach("journal")
        held = self._state.cursors.get(name)
        if held is None or held.owner != owner:
            return False
        moved = replace(held, position=max(held.position, position), until_ms=until_ms)
        self._state.cursors[name] = moved
        return True

    async def all(self) -> list[Cursor]:
        """Return all cursors, by name."""
        await self._reach("journal")
        return [cursor for _, cursor in sorted(self._state.cursors.items())]

    async def drop(self, name: str) -> bool:
        """Forget a reader for ever; False when there was none."""
        await self._reach("journal")
        return self._state.cursors.pop(name, None) is not None

    async def journal_end(self) -> int:
        """Return the position of the last entry; 0 when there is none."""
        await self._reach("journal")
        return self._state.position_last

    async def unread(self, runs: Sequence[tuple[str, int]], position: int) -> set[str]:
        """Return those whose entry stands after a position; see ``Cursors.unread``."""
        await self._reach("journal")
        later = {
            (row.workflow_id, row.entry.version)
            for row in self._state.journal
            if row.position > position
        }
        return {run[0] for run in runs if run in later}
