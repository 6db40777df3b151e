"""Definitions of workflows and tasks: register, look at and delete them.

Clients differ in whether they send one definition or a list; both are taken everywhere. A
``{version}`` that is no number is refused, or a call of a tag endpoint that we do not have,
`DELETE .../{name}/tags`, would be taken for one (clients.md 1.4).
"""

from typing import Any

import msgspec

from batuta.api.body import decode_whole, refuse
from batuta.api.request import EMPTY, Reply, Request, json_reply, read_body, to_integer
from batuta.api.summary import classifier_of
from batuta.core.definition.normalize import faults_text, to_document
from batuta.model.definition import WorkflowDef
from batuta.model.error import InvalidError


class BulkBody(msgspec.Struct, frozen=True, rename="camel"):
    """What many registrations did. Source: semantics a.7; conductor BulkResponse."""

    bulk_error_results: dict[str, str]
    bulk_successful_results: list[str]


class VersionBody(msgspec.Struct, frozen=True, rename="camel"):
    """A version of a definition. Source: conductor WorkflowDefSummary."""

    name: str
    version: int
    create_time: int
    update_time: int


async def create_workflow_def(request: Request) -> Reply:
    """Register a definition; 409 when its version exists, unless ``overwrite=true``."""
    is_overwriting = request.boolean("overwrite", default=False)
    documents = _documents(decode_whole(await read_body(request)))
    await request.engine.definitions.put_workflow_defs(documents, overwrite=is_overwriting)
    return EMPTY


async def put_workflow_defs(request: Request) -> Reply:
    """Register or replace definitions; one that is invalid refuses them all.

    Answers Conductor's BulkResponse: the SDKs read it (clients.md 1.4).
    """
    documents = _documents(decode_whole(await read_body(request)))
    stored = await request.engine.definitions.put_workflow_defs(documents, overwrite=True)
    return json_reply(BulkBody({}, [def_.name for def_ in stored]))


async def validate_workflow_def(request: Request) -> Reply:
    """Judge a definition without registering it; 400 names all its faults."""
    document = decode_whole(await read_body(request))
    faults = await request.engine.definitions.validate(document)
    if faults:
        raise InvalidError(f"the definition is invalid: {faults_text(faults)}", faults)
    return EMPTY


async def get_workflow_def(request: Request) -> Reply:
    """Show a definition; without ``version`` the latest."""
    version = request.integer("version", 0)
    def_ = await request.engine.definitions.get_workflow_def(request.values[0], version)
    return json_reply(to_document(def_))


async def list_workflow_defs(request: Request) -> Reply:
    """Show all versions of all definitions, by name and version, or those of a classifier."""
    wanted = (request.text("classifier") or "").lower()
    shown = [
        to_document(def_)
        for def_ in await _all(request)
        if not wanted or classifier_of(def_.metadata).lower() == wanted
    ]
    return json_reply(shown)


async def list_latest_workflow_defs(request: Request) -> Reply:
    """Show the latest version of each definition."""
    latest = {def_.name: def_ for def_ in await _all(request)}
    return json_reply([to_document(def_) for def_ in latest.values()])


async def list_names(request: Request) -> Reply:
    """Show the names of all definitions."""
    return json_reply(list(dict.fromkeys(def_.name for def_ in await _all(request))))


async def list_names_and_versions(request: Request) -> Reply:
    """Show the versions of each definition by name."""
    found: dict[str, list[VersionBody]] = {}
    for def_ in await _all(request):
        found.setdefault(def_.name, []).append(_summary(def_))
    return json_reply(found)


async def list_versions(request: Request) -> Reply:
    """Show the versions of one definition; [] when there is none of that name."""
    found = await request.engine.definitions.list_workflow_defs(request.values[0])
    return json_reply([_summary(def_) for def_ in found])


async def delete_workflow_def(request: Request) -> Reply:
    """Delete one version; runs of it keep their snapshot."""
    name, text = request.values
    version = to_integer("version", text)
    if version < 1:
        raise refuse("version", f"expected 1 or more, got {version}", text)
    await request.engine.definitions.delete_workflow_def(name, version)
    return EMPTY


async def create_task_defs(request: Request) -> Reply:
    """Register task definitions; those that exist are replaced (gotchas.md 19)."""
    documents = _documents(decode_whole(await read_body(request)))
    await request.engine.definitions.put_task_defs(documents)
    return EMPTY


async def put_task_def(request: Request) -> Reply:
    """Replace one task definition; 404 when it does not exist."""
    documents = _documents(decode_whole(await read_body(request)))
    for document in documents:
        name = document.get("name") if isinstance(document, dict) else None
        if isinstance(name, str) and name:
            await request.engine.definitions.get_task_def(name)
    await request.engine.definitions.put_task_defs(documents)
    return EMPTY


async def get_task_def(request: Request) -> Reply:
    """Show a task definition."""
    return json_reply(to_document(await request.engine.definitions.get_task_def(request.values[0])))


async def list_task_defs(request: Request) -> Reply:
    """Show all task definitions."""
    found = await request.engine.definitions.list_task_defs()
    return json_reply([to_document(def_) for def_ in found])


async def delete_task_def(request: Request) -> Reply:
    """Delete a task definition; runs keep the one they started with."""
    await request.engine.definitions.delete_task_def(request.values[0])
    return EMPTY


async def _all(request: Request) -> list[WorkflowDef]:
    """Return all definitions, by name and version."""
    found = await request.engine.definitions.list_workflow_defs()
    return sorted(found, key=lambda def_: (def_.name, def_.version))


def _summary(def_: WorkflowDef) -> VersionBody:
    return VersionBody(def_.name, def_.version, def_.create_time, def_.update_time)


def _documents(body: Any) -> list[Any]:
    documents = body if isinstance(body, list) else [body]
    if not documents:
        raise refuse("body", "the list is empty; send at least one definition")
    return documents
