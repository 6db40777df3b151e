"""The table of the journal's readers. See ``store.cursor`` for the promises."""

from collections.abc import Sequence
from functools import partial

from batuta.store.cursor import Cursor
from batuta.store.postgres.judge import is_id
from batuta.store.postgres.link import Link, Record, Session

# The statement locks the row and judges it once more when another node was first.
_TAKE = """
INSERT INTO cursor AS held (name, position, owner, until)
VALUES ($1, (SELECT position FROM journal_head), $2, $4)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE held.owner = excluded.owner OR held.until < $3
"""
_MOVE = """
UPDATE cursor SET position = greatest(position, $3), until = $4 WHERE name = $1 AND owner = $2
"""
_COLUMNS = "name, position, owner, until"
_ONE = f"SELECT {_COLUMNS} FROM cursor WHERE name = $1"  # noqa: S608 - a constant
_ALL = f"SELECT {_COLUMNS} FROM cursor ORDER BY name"  # noqa: S608 - a constant
_UNREAD = """
SELECT DISTINCT j.workflow_id::text AS id FROM unnest($1::uuid[], $2::bigint[]) AS wanted (id, v)
JOIN journal AS j ON j.workflow_id = wanted.id AND j.version = wanted.v
WHERE j.position > $3
"""


class PostgresCursors:
    """Cursors that several nodes share: one of them holds each."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def take(self, name: str, owner: str, *, now_ms: int, until_ms: int) -> Cursor:
        """Make a cursor the owner's; see ``Cursors.take``."""

        async def take(session: Session) -> Cursor:
            session.wrote(await session.run(_TAKE, name, owner, now_ms, until_ms))
            [row] = await session.rows(_ONE, name)
            return _cursor(row)

        return await self._link.write(take)

    async def move(self, name: str, owner: str, *, position: int, until_ms: int) -> bool:
        """Move a cursor on; see ``Cursors.move``."""
        return await self._link.write(partial(_change, _MOVE, name, owner, position, until_ms))

    async def all(self) -> list[Cursor]:
        """Return all cursors, by name."""

        async def read(session: Session) -> list[Cursor]:
            return [_cursor(row) for row in await session.rows(_ALL)]

        return await self._link.read(read)

    async def drop(self, name: str) -> bool:
        """Forget a reader for ever; False when there was none."""
        return await self._link.write(partial(_change, "DELETE FROM cursor WHERE name = $1", name))

    async def journal_end(self) -> int:
        """Return the position of the last entry; 0 when there is none."""

        async def read(session: Session) -> int:
            return int(await session.value("SELECT position FROM journal_head"))

        return await self._link.read(read)

    async def unread(self, runs: Sequence[tuple[str, int]], position: int) -> set[str]:
        """Return those whose entry stands after a position; see ``Cursors.unread``."""
        known = [run for run in runs if is_id(run[0])]
        ids, versions = [run[0] for run in known], [run[1] for run in known]

        async def read(session: Session) -> set[str]:
            return {row["id"] for row in await session.rows(_UNREAD, ids, versions, position)}

        return await self._link.read(read)


async def _change(statement: str, *arguments: str | int | Session) -> bool:
    *values, session = arguments
    assert isinstance(session, Session), "the link gives the session last"
    count = await session.run(statement, *values)
    session.wrote(count)
    return count > 0


def _cursor(row: Record) -> Cursor:
    return Cursor(
        name=row["name"], position=row["position"], owner=row["owner"], until_ms=row["until"]
    )
