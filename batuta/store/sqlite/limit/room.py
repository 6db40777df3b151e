"""Which tasks claims under limits get: counted before the batch by the only thread that writes."""

from collections.abc import Sequence

import apsw
import msgspec

from batuta.model.limit import Limit, LimitUse
from batuta.store.allot import Place, allot, asked, limits_of
from batuta.store.base import Claim

# A part's name has the separator, and after it the key of its limit.
_KEY = "substr(queue, instr(queue, char(31)) + 1)"
_IS_PART = "instr(queue, char(31)) > 0"

_HEAD = "SELECT rank, at, task_id FROM queue WHERE queue = ? ORDER BY rank, at, task_id LIMIT ?"
_HELD = f"SELECT count(*) FROM lease WHERE {_IS_PART} AND {_KEY} = ?"  # noqa: S608  names of ours
_TAKEN = "SELECT coalesce(sum(count), 0) FROM limit_taken WHERE key = ? AND at > ?"

# From part to part: a queue of a million rows costs one look-up.
_PARTS = f"""
WITH RECURSIVE part (name) AS (
    SELECT min(queue) FROM queue WHERE {_IS_PART}
    UNION ALL
    SELECT (SELECT min(queue) FROM queue WHERE {_IS_PART} AND queue > part.name)
    FROM part WHERE part.name IS NOT NULL
) SELECT name FROM part WHERE name IS NOT NULL
"""  # noqa: S608  names of ours

# Of a batch that has claims under a limit of how many are taken within a time. ``metered`` has
# rows of (key, until when its rows are of no use).
METER = f"""
INSERT INTO limit_taken (key, at, count)
SELECT {_KEY}, {{now}}, count(*) FROM picked
WHERE {_IS_PART} AND {_KEY} IN (SELECT value ->> 0 FROM jsonb_each({{metered}})) GROUP BY 1
ON CONFLICT (key, at) DO UPDATE SET count = count + excluded.count;

DELETE FROM limit_taken WHERE EXISTS (
    SELECT 1 FROM jsonb_each({{metered}}) WHERE value ->> 0 = key AND at <= value ->> 1
);
"""  # noqa: S608  names of ours

_encode = msgspec.json.Encoder().encode


def claim_rows(
    connection: apsw.Connection, claims: Sequence[Claim], now_ms: int
) -> tuple[bytes, bytes | None]:
    """Return the rows of ``claims`` and of ``metered`` for claims of which some have parts."""
    heads = {name: _head(connection, name, count) for name, count in asked(claims).items()}

    def use_of(key: str, limit: Limit) -> LimitUse:
        return use(connection, key, now_ms - limit.window_ms)

    places: dict[str, int] = {}
    rows = []
    for index, shares in enumerate(allot(claims, heads, use_of)):
        for name, count in shares.items():
            before = places.get(name, 0)
            places[name] = last = before + count
            rows.append((index, name, before + 1, last, claims[index].worker_id))
    metered = [
        (key, now_ms - limit.window_ms)
        for key, limit in limits_of(claims).items()
        if limit.taken_max > 0
    ]
    return _encode(rows), _encode(metered) if metered else None


def use(connection: apsw.Connection, key: str, since_ms: int) -> LimitUse:
    """Return how many tasks of a key are held, and were taken after a time."""
    held = connection.execute(_HELD, (key,)).get
    taken = connection.execute(_TAKEN, (key, since_ms)).get
    return LimitUse(held=int(str(held)), taken=int(str(taken)))


def parts(connection: apsw.Connection) -> list[str]:
    """Return the parts of queues that have ready tasks."""
    return [str(name) for (name,) in connection.execute(_PARTS).fetchall()]


def _head(connection: apsw.Connection, name: str, count: int) -> list[Place]:
    return [
        (int(str(rank)), int(str(at)), task_id)
        for rank, at, task_id in connection.execute(_HEAD, (name, count)).fetchall()
        if isinstance(task_id, bytes)
    ]


def is_limited(claims: Sequence[Claim]) -> bool:
    """Say whether one of the claims has parts."""
    return any(claim.parts for claim in claims)
