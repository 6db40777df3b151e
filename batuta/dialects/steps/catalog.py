"""Where definitions of steps are kept: documents of the engine's catalogue, one for each name."""

import asyncio
from typing import Any

import msgspec

from batuta.dialects.steps.definition import UUID, Definition
from batuta.model.error import ConflictError, NotFoundError
from batuta.runtime.clock import wall_ms
from batuta.store.base import Catalog, Document

KIND = "steps_definition"
NAME_OF_ID = "steps_name"  # by the id of a definition
SAMPLE_ID = "sample-user-signup"

_decoder = msgspec.json.Decoder(Definition)


class Definitions:
    """The definitions of this dialect. The name is the key of the store, so it is unique."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = asyncio.Lock()

    async def all(self) -> list[Definition]:
        """Return all definitions, the oldest first."""
        documents = await self._catalog.list_documents(KIND)
        ordered = sorted(documents, key=lambda one: (one.created_at_ms, one.name))
        return [_decoder.decode(one.body) for one in ordered]

    async def by_id(self, definition_id: str) -> Definition | None:
        """Return the definition of an id, or None."""
        document = await self._catalog.get_document(NAME_OF_ID, definition_id)
        if document is None:
            return None
        found = await self.by_name(msgspec.json.decode(document.body, type=str))
        return found if found is not None and found.id == definition_id else None

    async def by_name(self, name: str) -> Definition | None:
        """Return the definition of a name, or None."""
        document = await self._catalog.get_document(KIND, name)
        return None if document is None else _decoder.decode(document.body)

    async def by_either(self, text: str) -> Definition | None:
        """Return the definition that is meant by a name or an id, or None.

        No name looks like an id, so an id is not looked for among the names: each look is a read
        of the store.
        """
        if UUID.fullmatch(text):
            return await self.by_id(text)
        return await self.by_name(text) or await self.by_id(text)

    async def add(self, definition: Definition) -> None:
        """Keep a new definition.

        Raises:
            ConflictError: Its name is taken.
        """
        if not await self._put(definition, overwrite=False):
            raise ConflictError(
                f'Workflow definition with name "{definition.name}" already exists.'
            )

    async def change(self, definition: Definition) -> None:
        """Put a definition in the place of the one that has its id.

        Raises:
            NotFoundError: None has.
            ConflictError: Another one has its name.
        """
        async with self._lock:
            before = await self.by_id(definition.id)
            if before is None:
                raise NotFoundError(f'Workflow definition with ID "{definition.id}" not found.')
            if before.name == definition.name:
                await self._put(definition, overwrite=True)
            else:
                await self.add(definition)
                await self._catalog.delete_document(KIND, before.name)

    async def remove(self, definition_id: str) -> bool:
        """Remove a definition; instances go on. False when there was none."""
        async with self._lock:
            found = await self.by_id(definition_id)
            if found is None:
                return False
            await self._catalog.delete_document(NAME_OF_ID, definition_id)
            return await self._catalog.delete_document(KIND, found.name)

    async def _put(self, definition: Definition, *, overwrite: bool) -> bool:
        [is_new] = await self._catalog.put_documents(
            [_document(KIND, definition.name, definition)], overwrite=overwrite
        )
        if is_new:  # after the definition: an id that leads nowhere is a 404, no definition is lost
            name = _document(NAME_OF_ID, definition.id, definition.name)
            await self._catalog.put_documents([name], overwrite=True)
        return is_new


def _document(kind: str, name: str, body: Any) -> Document:
    now_ms = wall_ms()
    return Document(
        kind=kind,
        name=name,
        body=msgspec.json.encode(body),
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )


def shown(definition: Definition) -> dict[str, Any]:
    """Return a definition as it is shown; what was left out stays out."""
    document: dict[str, Any] = msgspec.to_builtins(definition)
    if document["description"] is None:
        del document["description"]
    for step in document["steps"].values():
        for name in ("inputPath", "resultPath"):
            if step[name] is None:
                del step[name]
    return document


SAMPLE: dict[str, Any] = {
    "name": "Sample User Signup Workflow",
    "description": "Signs a user up: checks the data, creates the user, sends an e-mail.",
    "startAt": "validateInput",
    "steps": {
        "validateInput": {
            "name": "Validate User Input",
            "functionName": "validateUserData",
            "resultPath": "$.validationResult",
            "nextStepId": "createUser",
        },
        "createUser": {
            "name": "Create User in DB",
            "functionName": "createUserInDB",
            "inputPath": "$.validationResult",
            "resultPath": "$.userCreationResult",
            "nextStepId": "sendEmail",
        },
        "sendEmail": {
            "name": "Send Welcome Email",
            "functionName": "sendWelcomeEmail",
            "inputPath": "$.userCreationResult",
            "resultPath": "$.emailSentResult",
            "nextStepId": "logAnalytics",
        },
        "logAnalytics": {
            "name": "Log Signup Analytics",
            "functionName": "logAnalytics",
            "inputPath": "$.emailSentResult",
        },
    },
}
