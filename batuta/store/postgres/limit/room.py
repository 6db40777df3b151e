"""Claims under limits: which tasks they get, decided while their keys are locked."""

from collections.abc import Sequence

from batuta.model.limit import Limit, LimitUse
from batuta.store.allot import Place, allot, asked, limits_of
from batuta.store.base import Batch, Claim
from batuta.store.postgres.link import Session
from batuta.store.postgres.rows import text

# Claims of other nodes under the same limit wait here, so that what is counted stays so. It comes
# after every row lock of a batch and before the journal's head, in the order of keys.
_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended('batuta limit ' || key, 0))
FROM unnest($1::text[]) AS key ORDER BY key
"""
_HELD = """
SELECT count(*) FROM lease WHERE strpos(queue, chr(31)) > 0 AND split_part(queue, chr(31), 2) = $1
"""
_TAKEN = "SELECT coalesce(sum(count), 0)::bigint FROM limit_taken WHERE key = $1 AND at > $2"
_HEADS = """
SELECT ready.queue, -ready.priority AS rank, ready.at, ready.task_id::text
FROM unnest($1::text[], $2::bigint[]) AS wish (name, count)
CROSS JOIN LATERAL (
    SELECT * FROM queue WHERE queue.queue = wish.name
    ORDER BY priority DESC, at, task_id LIMIT wish.count
) AS ready ORDER BY ready.queue, ready.priority DESC, ready.at, ready.task_id
"""
_PARTS = """
WITH RECURSIVE part (name) AS (
    SELECT min(queue) FROM queue WHERE strpos(queue, chr(31)) > 0
    UNION ALL
    SELECT (SELECT min(queue) FROM queue WHERE strpos(queue, chr(31)) > 0 AND queue > part.name)
    FROM part WHERE part.name IS NOT NULL
) SELECT name FROM part WHERE name IS NOT NULL
"""
_TAKE = """
WITH gone AS (
    DELETE FROM limit_taken USING unnest($1::text[], $2::bigint[]) AS v (key, until)
    WHERE limit_taken.key = v.key AND limit_taken.at <= v.until
)
INSERT INTO limit_taken AS t (key, at, count)
SELECT v.key, $4::bigint, v.count FROM unnest($1::text[], $3::bigint[]) AS v (key, count)
WHERE v.count > 0
ON CONFLICT (key, at) DO UPDATE SET count = t.count + excluded.count
"""


async def shares(session: Session, batch: Batch) -> list[dict[str, int]]:
    """Return how many tasks each claim may take of which queue and part."""
    limits = limits_of(batch.claims)
    if limits:
        await session.rows(_LOCK, sorted(limits))
    uses = {
        key: await use(session, key=key, since_ms=batch.now_ms - limit.window_ms)
        for key, limit in limits.items()
    }
    counts = {text(name): count for name, count in asked(batch.claims).items()}
    heads: dict[str, list[Place]] = {}
    for row in await session.rows(_HEADS, list(counts), list(counts.values())):
        place = (row["rank"], row["at"], row["task_id"])
        heads.setdefault(row["queue"], []).append(place)

    def use_of(key: str, _: Limit) -> LimitUse:
        return uses[key]

    return allot(batch.claims, heads, use_of)


async def take(
    session: Session, claims: Sequence[Claim], taken: dict[str, int], now_ms: int
) -> None:
    """Note how many tasks of each key were taken, where a limit counts them."""
    metered = {key: limit for key, limit in limits_of(claims).items() if limit.taken_max > 0}
    if metered:
        await session.run(
            _TAKE,
            list(metered),
            [now_ms - limit.window_ms for limit in metered.values()],
            [taken.get(key, 0) for key in metered],
            now_ms,
        )


async def use(session: Session, *, key: str, since_ms: int) -> LimitUse:
    """Return how many tasks of a key are held, and were taken after a time."""
    held = await session.value(_HELD, key)
    taken = await session.value(_TAKEN, key, since_ms)
    return LimitUse(held=held, taken=taken)


async def parts(session: Session) -> list[str]:
    """Return the parts of queues that have ready tasks."""
    return [row["name"] for row in await session.rows(_PARTS)]
