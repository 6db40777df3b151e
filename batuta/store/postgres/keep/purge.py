"""Finding and removing what is old, each function in the transaction of its caller."""

from collections.abc import Sequence

from batuta.store.keep import Ended
from batuta.store.postgres import statements as commit_statements
from batuta.store.postgres.judge import is_id
from batuta.store.postgres.keep import statements
from batuta.store.postgres.link import Session
from batuta.store.postgres.rows import WHOLE_RUN, text

REMOVALS_MAX = 100  # removed runs that one slice looks at; bounds what it reads

_NO_CHANNEL = "batuta"  # not used: a removal is a hint to nobody
_POSITION_MAX = 2**63 - 1


async def ended_names(session: Session) -> list[str]:
    """Return the names of workflows that have ended runs."""
    return [row["name"] for row in await session.rows(statements.NAMES)]


async def find_ended(
    session: Session,
    name: str,
    statuses: Sequence[str],
    *,
    before_ms: int,
    keep_count: int,
    limit: int,
) -> list[Ended]:
    """Return runs that are to go; see ``Keep.find_ended``."""
    of_name = (text(name), list(statuses))
    cut: tuple[int, str] = (before_ms, WHOLE_RUN)
    if keep_count > 0:
        for row in await session.rows(statements.CUT, *of_name, keep_count):
            if row["ended_at"] >= before_ms:
                cut = (row["ended_at"], row["id"])
    found = await session.rows(statements.FOUND, *of_name, *cut, limit)
    return [Ended(row["id"], row["version"]) for row in found]


async def purge(
    session: Session, runs: Sequence[Ended], *, now_ms: int, rows_max: int
) -> list[str]:
    """Remove runs that are as they were found; see ``Keep.purge``."""
    known = [run for run in runs if is_id(run.workflow_id)]
    ids, versions = [run.workflow_id for run in known], [run.version for run in known]
    locked = [row["id"] for row in await session.rows(statements.LOCK, ids)]
    found = await session.rows(statements.PURGED, ids, versions, locked)
    purged = {row["id"]: row["version"] for row in found}
    if not purged:
        return []
    gone = list(purged)
    await _delete_tasks(session, statements.TASKS_OF, gone, rows_max)
    for statement in statements.PURGE:
        session.wrote(await session.run(statement, gone))
    count = len(gone)
    nothing = [""] * count
    entries = (
        *(gone, [version + 1 for version in purged.values()], [now_ms] * count),
        *(["remove"] * count, ["retention"] * count, nothing, [b"{}"] * count),
    )
    await session.run(commit_statements.FINISH, count, now_ms, *entries, _NO_CHANNEL, "")
    session.wrote(count)
    return gone


async def purge_retired(session: Session, *, before_ms: int, rows_max: int) -> int:
    """Delete retired tasks; see ``Keep.purge_retired``."""
    return await _delete_tasks(session, statements.RETIRED, before_ms, rows_max)


async def purge_removed(
    session: Session, *, before_ms: int, position_max: int | None, rows_max: int
) -> int:
    """Delete what is left of removed runs; see ``Keep.purge_removed``."""
    position = _POSITION_MAX if position_max is None else position_max
    removals = min(REMOVALS_MAX, rows_max)
    found = await session.rows(statements.REMOVALS, before_ms, position, removals)
    gone = [row["workflow_id"] for row in found]
    deleted = await _delete_tasks(session, statements.TASKS_OF, gone, rows_max)
    for is_removal in (False, True):
        if deleted < rows_max:
            deleted += await session.run(statements.ENTRIES, gone, is_removal, rows_max - deleted)
    session.wrote(deleted)
    return deleted


async def _delete_tasks(session: Session, which: str, *arguments: object) -> int:
    doomed = [row["task_id"] for row in await session.rows(which, *arguments)]
    if doomed:
        for statement in statements.DELETE_TASKS:
            session.wrote(await session.run(statement, doomed))
    return len(doomed)
