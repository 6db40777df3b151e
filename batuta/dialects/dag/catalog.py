"""Where workflows are kept: documents of the engine's catalogue, by id."""

import msgspec

from batuta.dialects.dag.definition import Workflow
from batuta.model.error import NotFoundError
from batuta.store.base import Catalog, Document

KIND = "dag_workflow"

_decoder = msgspec.json.Decoder(Workflow)


class Workflows:
    """The workflows of this dialect."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def all(self) -> list[Workflow]:
        """Return all workflows, the one changed last first."""
        documents = await self._catalog.list_documents(KIND)
        found = [_decoder.decode(one.body) for one in documents]
        return sorted(found, key=lambda one: (-one.updated_at, one.id))

    async def find(self, workflow_id: str) -> Workflow:
        """Return a workflow.

        Raises:
            NotFoundError: There is none with this id.
        """
        return _decoder.decode(await self.document(workflow_id))

    async def document(self, workflow_id: str) -> bytes:
        """Return a workflow as it is kept; as ``find``."""
        document = await self._catalog.get_document(KIND, workflow_id)
        if document is None:
            raise NotFoundError("Workflow not found")
        return document.body

    @staticmethod
    def read(document: bytes) -> Workflow:
        """Read what ``document`` returned."""
        return _decoder.decode(document)

    async def put(self, workflow: Workflow) -> None:
        """Keep a workflow, in the place of one with its id."""
        document = Document(
            kind=KIND,
            name=workflow.id,
            body=msgspec.json.encode(workflow),
            created_at_ms=workflow.created_at,
            updated_at_ms=workflow.updated_at,
        )
        await self._catalog.put_documents([document], overwrite=True)

    async def remove(self, workflow_id: str) -> None:
        """Remove a workflow, if there is one with this id; its runs go on."""
        await self._catalog.delete_document(KIND, workflow_id)
