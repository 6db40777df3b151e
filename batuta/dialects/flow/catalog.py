"""Saved flows and their versions: documents of the engine's catalogue.

Each version is a document of its own that is written once; a head, which lists read, says what
the last one is called. Who saves first gets the number, on any node.
"""

import asyncio
from typing import Any

import msgspec

from batuta.dialects.flow.definition import UNTITLED, read_nodes, refuse
from batuta.dialects.nest import moment
from batuta.model.definition import NAME_CHARACTERS_MAX
from batuta.model.error import ConflictError, Fault, NotFoundError
from batuta.runtime.clock import wall_ms
from batuta.store.base import Catalog, Document

HEAD, VERSION = "flow_head", "flow_version"
VERSIONS_MAX = 50  # of a flow that are kept, the newest
DESCRIPTION_CHARACTERS_MAX = 10_000
TRIES_MAX = 10  # to get a number that others want too


class Flow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A version of a saved flow; nodes as they were given."""

    id: str
    name: str
    description: str = ""
    version: int
    nodes: msgspec.Raw
    node_count: int
    created_at: str
    updated_at: str


class Head(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A saved flow as a line of a list."""

    id: str
    name: str
    description: str = ""
    version: int
    node_count: int
    created_at: str
    updated_at: str


_flow = msgspec.json.Decoder(Flow)
_head = msgspec.json.Decoder(Head)


def read_flow(body: Any, flow_id: str, version: int, created_at: str) -> Flow:
    """Read a flow that is to be saved.

    Raises:
        InvalidError: It could not be run; with every fault.
    """
    nodes = read_nodes(body)
    faults: list[Fault] = []
    name, description = body.get("name"), body.get("description")
    if name is None:
        name = body.get("workflowName")
    name = UNTITLED if name is None else name
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_CHARACTERS_MAX:
        message = f"must be a string that is not empty, {NAME_CHARACTERS_MAX} characters at most"
        faults.append(Fault("name", message))
    if not isinstance(description, str | None) or len(description or "") > (
        DESCRIPTION_CHARACTERS_MAX
    ):
        message = f"must be a string, {DESCRIPTION_CHARACTERS_MAX:,} characters at most"
        faults.append(Fault("description", message))
    refuse(faults)
    now = moment(wall_ms())
    return Flow(
        id=flow_id,
        name=str(name),
        description=description or "",
        version=version,
        nodes=msgspec.Raw(msgspec.json.encode(body["nodes"])),
        node_count=len(nodes),
        created_at=created_at or now,
        updated_at=now,
    )


class Flows:
    """The saved flows."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = asyncio.Lock()  # so that of two heads the later version's stays

    async def all(self) -> list[Head]:
        """Return all flows, the one saved last first."""
        documents = await self._catalog.list_documents(HEAD)
        found = [_head.decode(one.body) for one in documents]
        return sorted(found, key=lambda one: (one.updated_at, one.id), reverse=True)

    async def find(self, flow_id: str, version: int = 0) -> Flow:
        """Return a version of a flow, 0 for the last one.

        Raises:
            NotFoundError: There is none with this id, or not this version.
        """
        document = await self._catalog.get_document(VERSION, flow_id, version)
        if document is None:
            raise NotFoundError("Flow version not found" if version else "Flow not found")
        return _flow.decode(document.body)

    async def versions(self, flow_id: str) -> list[Head]:
        """Return the versions of a flow, the last one first.

        Raises:
            NotFoundError: There is no flow with this id.
        """
        documents = await self._catalog.list_documents(VERSION, flow_id)
        if not documents:
            raise NotFoundError("Flow not found")
        return [_head_of(_flow.decode(one.body)) for one in reversed(documents)]

    async def add(self, flow: Flow) -> None:
        """Save a flow with an id that nothing has."""
        await self._put(flow)

    async def change(self, flow_id: str, body: Any) -> Flow:
        """Save a flow's next version; the oldest of too many goes.

        Raises:
            NotFoundError: There is no flow with this id.
            InvalidError: It could not be run.
            ConflictError: Very many save this flow at once.
        """
        async with self._lock:
            for _ in range(TRIES_MAX):  # other nodes save too
                before = await self.find(flow_id)
                flow = read_flow(body, flow_id, before.version + 1, before.created_at)
                if await self._put(flow):
                    await self._drop_oldest(flow)
                    return flow
        raise ConflictError("the flow is being saved by others; try again")

    async def remove(self, flow_id: str) -> None:
        """Remove a flow with all its versions; its runs go on.

        Raises:
            NotFoundError: There is no flow with this id.
        """
        is_listed = await self._catalog.delete_document(HEAD, flow_id)
        # Last, so that who is killed between them finds it again and can remove it again.
        if not await self._catalog.delete_document(VERSION, flow_id) and not is_listed:
            raise NotFoundError("Flow not found")

    async def _drop_oldest(self, flow: Flow) -> None:
        if flow.version > VERSIONS_MAX:
            oldest = flow.version - VERSIONS_MAX
            await self._catalog.delete_document(VERSION, flow.id, oldest)

    async def _put(self, flow: Flow) -> bool:
        now_ms = wall_ms()
        [is_new] = await self._catalog.put_documents(
            [_document(VERSION, flow, flow.version, now_ms)], overwrite=False
        )
        if is_new:
            head = _document(HEAD, _head_of(flow), 1, now_ms)
            await self._catalog.put_documents([head], overwrite=True)
        return is_new


def _head_of(flow: Flow) -> Head:
    return Head(
        id=flow.id,
        name=flow.name,
        description=flow.description,
        version=flow.version,
        node_count=flow.node_count,
        created_at=flow.created_at,
        updated_at=flow.updated_at,
    )


def _document(kind: str, body: Flow | Head, version: int, now_ms: int) -> Document:
    return Document(
        kind=kind,
        name=body.id,
        version=version,
        body=msgspec.json.encode(body),
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
