"""The catalogue as a rehearsal sees it: what is registered, under what came with the request."""

from collections.abc import Sequence

import msgspec

from batuta.core.definition.normalize import to_document
from batuta.model.definition import WorkflowDef
from batuta.runtime.definitions import WORKFLOW_DEF
from batuta.runtime.rehearsal.mock import Mocks
from batuta.store.base import Catalog, Document

_NO_WRITES = "a rehearsal registers nothing"


class BorrowedCatalog:
    """Reads a catalogue; snapshots stay here, and nothing is ever written to it.

    Args:
        definitions: Found before registered ones, also when the latest of a name is asked for.
    """

    def __init__(self, catalog: Catalog, definitions: Sequence[WorkflowDef]) -> None:
        self._catalog = catalog
        self._given = {(found.name, found.version): _document(found) for found in definitions}
        self._snapshots: dict[str, bytes] = {}

    async def put_documents(self, documents: Sequence[Document], *, overwrite: bool) -> list[bool]:
        """Refuse: see the class."""
        raise AssertionError(f"{_NO_WRITES}: {len(documents)} documents, overwrite={overwrite}")

    async def delete_document(self, kind: str, name: str, version: int = 0) -> bool:
        """Refuse: see the class."""
        raise AssertionError(f"{_NO_WRITES}, and deletes nothing: {kind} {name!r} {version}")

    async def get_document(self, kind: str, name: str, version: int = 0) -> Document | None:
        """Return a document that was given, else a registered one; version 0 is the highest."""
        if kind == WORKFLOW_DEF:
            versions = [given for known, given in self._given if known == name]
            wanted = version or max(versions, default=0)
            if (name, wanted) in self._given:
                return self._given[name, wanted]
        return await self._catalog.get_document(kind, name, version)

    async def list_documents(self, kind: str, name: str | None = None) -> list[Document]:
        """Return the registered documents of a kind."""
        return await self._catalog.list_documents(kind, name)

    async def put_snapshot(self, digest: str, body: bytes) -> None:
        """Keep a snapshot for as long as the rehearsal takes."""
        self._snapshots[digest] = body

    async def get_snapshot(self, digest: str) -> bytes | None:
        """Return a snapshot of this rehearsal's."""
        return self._snapshots.get(digest)


def definitions_in(mocks: Mocks) -> list[WorkflowDef]:
    """Return the definitions that came with a request and with those inside it."""
    own = [mocks.definition] if mocks.definition else []
    return own + [found for inner in mocks.children.values() for found in definitions_in(inner)]


def _document(definition: WorkflowDef) -> Document:
    return Document(
        kind=WORKFLOW_DEF,
        name=definition.name,
        version=definition.version,
        body=msgspec.json.encode(to_document(definition)),
        created_at_ms=0,
        updated_at_ms=0,
    )
