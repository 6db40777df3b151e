"""Bring the schema up to date, and check that it is."""

from batuta.model.error import StoreError
from batuta.store.migrate import Migration, migrations, pending
from batuta.store.postgres.link import Session

_ENGINE = "postgres"
_LOCK = 0x6261747574610001  # "batuta", 1: one node migrates, the others wait

_CREATE = """
CREATE TABLE IF NOT EXISTS migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

_APPLIED = "SELECT number, checksum FROM migration"
_NOTE = "INSERT INTO migration (number, name, checksum) VALUES ($1, $2, $3)"


async def migrate(session: Session) -> list[Migration]:
    """Run the migrations that the database lacks, all in this transaction; return them.

    Raises:
        StoreError: The database is of a newer version, or was migrated by other files.
    """
    await session.value("SELECT pg_advisory_xact_lock($1)", _LOCK)
    await session.run(_CREATE)
    run = await _pending(session)
    for migration in run:
        await session.run(migration.sql)
        await session.run(_NOTE, migration.number, migration.name, migration.checksum)
    return run


async def check(session: Session) -> None:
    """Refuse a database whose schema is not the one this version was written for.

    Raises:
        StoreError: It lacks migrations, is of a newer version or was migrated by other files.
    """
    if await session.value("SELECT to_regclass('migration')") is None:
        missing = migrations(_ENGINE)
    else:
        missing = await _pending(session)
    if missing:
        raise StoreError(
            f"the postgresql database lacks {len(missing)} migrations, the first is"
            f" {missing[0].number} ({missing[0].name}); run `batuta migrate`"
        )


async def _pending(session: Session) -> list[Migration]:
    applied = {row["number"]: row["checksum"] for row in await session.rows(_APPLIED)}
    return pending(migrations(_ENGINE), applied)
