"""Where workflows and templates are kept: documents of the engine's catalogue, by id."""

from typing import Generic, Protocol, TypeVar

import msgspec

from batuta.dialects.dag.definition import Workflow
from batuta.model.error import NotFoundError
from batuta.store.base import Catalog, Document


class Identified(Protocol):
    """What is kept: it has an id, and says in Unix ms when it was made and changed."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def created_at(self) -> int:
        """When it was made."""

    @property
    def updated_at(self) -> int:
        """When it was changed last."""


_Item = TypeVar("_Item", bound=Identified)


class Kept(Generic[_Item]):
    """The documents of one kind.

    Args:
        kind: The engine's word for them.
        word: What one is called where it is missing.
    """

    def __init__(self, catalog: Catalog, kind: str, item: type[_Item], word: str) -> None:
        self._catalog = catalog
        self._kind = kind
        self._decoder = msgspec.json.Decoder(item)
        self._word = word

    async def all(self) -> list[_Item]:
        """Return all of them, the one changed last first."""
        documents = await self._catalog.list_documents(self._kind)
        found = [self._decoder.decode(one.body) for one in documents]
        return sorted(found, key=lambda one: (-one.updated_at, one.id))

    async def find(self, item_id: str) -> _Item:
        """Return one of them.

        Raises:
            NotFoundError: There is none with this id.
        """
        return self.read(await self.document(item_id))

    async def document(self, item_id: str) -> bytes:
        """Return one as it is kept; as ``find``."""
        document = await self._catalog.get_document(self._kind, item_id)
        if document is None:
            raise NotFoundError(f"{self._word} not found")
        return document.body

    def read(self, document: bytes) -> _Item:
        """Read what ``document`` returned."""
        return self._decoder.decode(document)

    async def put(self, item: _Item) -> None:
        """Keep it, in the place of one with its id."""
        document = Document(
            kind=self._kind,
            name=item.id,
            body=msgspec.json.encode(item),
            created_at_ms=item.created_at,
            updated_at_ms=item.updated_at,
        )
        await self._catalog.put_documents([document], overwrite=True)

    async def remove(self, item_id: str) -> None:
        """Remove it, if there is one with this id; runs of a workflow go on."""
        await self._catalog.delete_document(self._kind, item_id)


def workflows(catalog: Catalog) -> Kept[Workflow]:
    """Return the workflows of this dialect."""
    return Kept(catalog, "dag_workflow", Workflow, "Workflow")
