"""The table of the journal's readers. See ``store.cursor`` for the promises."""

from collections.abc import Sequence

import apsw
import msgspec

from batuta.store.cursor import Cursor
from batuta.store.sqlite.connection import ConnectionThread
from batuta.store.sqlite.statements import uuid

_TAKE = """
INSERT INTO cursor (name, position, owner, until)
VALUES (:name, (SELECT coalesce(max(position), 0) FROM journal), :owner, :until)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE cursor.owner = excluded.owner OR cursor.until < :now
"""
_MOVE = """
UPDATE cursor SET position = max(position, :position), until = :until
WHERE name = :name AND owner = :owner
"""
_COLUMNS = "name, position, owner, until"
_ONE = f"SELECT {_COLUMNS} FROM cursor WHERE name = :name"  # noqa: S608 - a constant
_ALL = f"SELECT {_COLUMNS} FROM cursor ORDER BY name"  # noqa: S608 - a constant
_UNREAD = f"""
SELECT json_group_array(DISTINCT {uuid("journal.workflow_id")})
FROM json_each(CAST(:runs AS TEXT)) wanted CROSS JOIN journal
    ON journal.workflow_id = unhex(wanted.value ->> 0, '-')
    AND journal.version = wanted.value ->> 1
WHERE journal.position > :position
"""  # noqa: S608 - a constant

_Asked = dict[str, str | int]


class SqliteCursors:
    """Writes by the thread that writes, reads by the one that reads."""

    def __init__(self, writer: ConnectionThread, reader: ConnectionThread) -> None:
        self._writer = writer
        self._reader = reader

    async def take(self, name: str, owner: str, *, now_ms: int, until_ms: int) -> Cursor:
        """Make a cursor the owner's; see ``Cursors.take``."""
        asked = {"name": name, "owner": owner, "now": now_ms, "until": until_ms}

        def take(connection: apsw.Connection) -> Cursor:
            with connection:
                connection.execute(_TAKE, asked)
                [taken] = _cursors(connection.execute(_ONE, {"name": name}))
            return taken

        return await self._writer.run(take)

    async def move(self, name: str, owner: str, *, position: int, until_ms: int) -> bool:
        """Move a cursor on; see ``Cursors.move``."""
        asked: _Asked = {"name": name, "owner": owner, "position": position, "until": until_ms}
        return await self._change(_MOVE, asked)

    async def all(self) -> list[Cursor]:
        """Return all cursors, by name."""
        return await self._reader.run(lambda connection: _cursors(connection.execute(_ALL)))

    async def drop(self, name: str) -> bool:
        """Forget a reader for ever; False when there was none."""
        return await self._change("DELETE FROM cursor WHERE name = :name", {"name": name})

    async def journal_end(self) -> int:
        """Return the position of the last entry; 0 when there is none."""
        statement = "SELECT coalesce(max(position), 0) FROM journal"
        return await self._reader.run(lambda connection: int(connection.execute(statement).get))

    async def unread(self, runs: Sequence[tuple[str, int]], position: int) -> set[str]:
        """Return those whose entry stands after a position; see ``Cursors.unread``."""
        asked = {"runs": msgspec.json.encode(runs), "position": position}
        found = await self._reader.run(
            lambda connection: str(connection.execute(_UNREAD, asked).get)
        )
        return msgspec.json.decode(found, type=set[str])

    async def _change(self, statement: str, asked: _Asked) -> bool:
        def change(connection: apsw.Connection) -> bool:
            with connection:
                connection.execute(statement, asked)
                changed = connection.changes()
            return changed > 0

        return await self._writer.run(change)


def _cursors(rows: apsw.Cursor) -> list[Cursor]:
    return [
        Cursor(name=str(name), position=int(position), owner=str(owner), until_ms=int(until))
        for name, position, owner, until in rows
    ]
