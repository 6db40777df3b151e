"""Numbered SQL files: which of them a database has, and which are still to be run. Pure.

A file is never changed once released: its checksum is kept in the database and compared at
every start.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from batuta.model.error import StoreError

_FOLDER = Path(__file__).parent / "migrations"


class Migration(msgspec.Struct, frozen=True):
    """One step of a schema; ``checksum`` is the SHA-256 of its text in hexadecimal."""

    number: int
    name: str
    sql: str
    checksum: str


def migrations(engine: str) -> list[Migration]:
    """Return an engine's migrations in order. The files are ``migrations/<engine>/NNNN_name.sql``.

    Args:
        engine: "sqlite" or "postgres".
    """
    found = []
    for path in sorted((_FOLDER / engine).glob("*.sql")):
        number, _, name = path.stem.partition("_")
        sql = path.read_text("utf-8")
        checksum = hashlib.sha256(sql.encode()).hexdigest()
        found.append(Migration(int(number), name, sql, checksum))
    return found


def pending(known: Sequence[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """Return what is still to be run, in order.

    Args:
        known: What this version of Batuta has.
        applied: Checksums by number, as the database has them.

    Raises:
        StoreError: The database is of a newer version of Batuta, or a migration that it has
            was another one. Nothing may be written then.
    """
    newest = max((one.number for one in known), default=0)
    newer = sorted(number for number in applied if number > newest)
    if newer:
        raise StoreError(
            f"the database has schema {newer[-1]} and this version of batuta knows {newest};"
            " install the batuta that wrote it, or a newer one"
        )
    for one in known:
        if applied.get(one.number, one.checksum) != one.checksum:
            raise StoreError(
                f"migration {one.number} ({one.name}) of the database is not the one of this"
                " version of batuta; install the batuta that wrote it, or restore a backup"
            )
    return [one for one in known if one.number not in applied]
