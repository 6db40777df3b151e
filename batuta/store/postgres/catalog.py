"""Documents and snapshots."""

from collections.abc import Sequence

from batuta.store.base import Document
from batuta.store.postgres.link import Record, Session

_COLUMNS = "kind, name, version, body, owner, created_at, updated_at"
_ARRAYS = (
    "unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::text[], $6::bigint[],"
    " $7::bigint[])"
)

# Holds off other writers of the same names until the answer is known to be right.
_LOCK_NAMES = "SELECT pg_advisory_xact_lock(hashtextextended('batuta.document', 0))"

_EXISTING = """
SELECT d.kind, d.name, d.version
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS v (kind, name, version)
JOIN document AS d ON d.kind = v.kind AND d.name = v.name AND d.version = v.version
"""

_PUT = f"""
INSERT INTO document ({_COLUMNS}) SELECT * FROM {_ARRAYS}
ON CONFLICT (kind, name, version) DO UPDATE
SET body = excluded.body, owner = excluded.owner, updated_at = excluded.updated_at
"""  # noqa: S608 - constants

_GET = f"""
SELECT {_COLUMNS} FROM document WHERE kind = $1 AND name = $2 AND $3::bigint IN (0, version)
ORDER BY version DESC LIMIT 1
"""  # noqa: S608 - a constant

_LIST = f"""
SELECT {_COLUMNS} FROM document WHERE kind = $1 AND ($2::text IS NULL OR name = $2)
ORDER BY name, version
"""  # noqa: S608 - a constant

_DELETE = "DELETE FROM document WHERE kind = $1 AND name = $2 AND $3::bigint IN (0, version)"

_PUT_SNAPSHOT = """
INSERT INTO snapshot (digest, body) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING
"""

_GET_SNAPSHOT = "SELECT body FROM snapshot WHERE digest = $1"


async def put_documents(
    session: Session, documents: Sequence[Document], *, overwrite: bool
) -> list[bool]:
    """Store all documents or none; see ``Catalog.put_documents``."""
    by_key = {(document.kind, document.name, document.version): document for document in documents}
    if not by_key:
        return []
    await session.value(_LOCK_NAMES)
    if not overwrite:
        found = await session.rows(_EXISTING, *zip(*by_key, strict=True))
        existing = {(row["kind"], row["name"], row["version"]) for row in found}
        if existing:
            return [
                (document.kind, document.name, document.version) not in existing
                for document in documents
            ]
    rows = [
        (*key, document.body, document.owner, document.created_at_ms, document.updated_at_ms)
        for key, document in by_key.items()
    ]
    session.wrote(await session.run(_PUT, *zip(*rows, strict=True)))
    return [True] * len(documents)


async def get_document(session: Session, kind: str, name: str, version: int) -> Document | None:
    """Return a document; version 0 means the highest."""
    if "\0" in name:
        return None
    found = await session.rows(_GET, kind, name, version)
    return _document(found[0]) if found else None


async def list_documents(session: Session, kind: str, name: str | None) -> list[Document]:
    """Return all versions of all documents of a kind, by name and version."""
    if name is not None and "\0" in name:
        return []
    return [_document(row) for row in await session.rows(_LIST, kind, name)]


async def delete_document(session: Session, kind: str, name: str, version: int) -> bool:
    """Delete one version (0: all); False when there was none."""
    if "\0" in name:
        return False
    await session.value(_LOCK_NAMES)
    count = await session.run(_DELETE, kind, name, version)
    session.wrote(count)
    return count > 0


async def put_snapshot(session: Session, digest: str, body: bytes) -> None:
    """Keep a definition snapshot under its content hash; again is the same."""
    session.wrote(await session.run(_PUT_SNAPSHOT, digest, body))


async def get_snapshot(session: Session, digest: str) -> bytes | None:
    """Return a snapshot's body, or None."""
    body: bytes | None = await session.value(_GET_SNAPSHOT, digest)
    return body


def _document(row: Record) -> Document:
    return Document(
        kind=row["kind"],
        name=row["name"],
        version=row["version"],
        body=row["body"],
        owner=row["owner"],
        created_at_ms=row["created_at"],
        updated_at_ms=row["updated_at"],
    )
