"""A payload that a request names instead of bringing it along."""

import re
from typing import TYPE_CHECKING

import msgspec

from batuta.api.body import (
    StartBody,
    TaskResultBody,
    payload_of,
    refuse,
    to_start,
    to_update,
)
from batuta.model.command import UpdateTask
from batuta.runtime.view import StartRequest

if TYPE_CHECKING:
    from batuta.model.payload import Payload
    from batuta.runtime.engine import Engine

_PATH = re.compile(r"(?:workflow|task)/(?:input|output)/([0-9a-f]{64})\.json")


def name_of(path: str) -> str | None:
    """Return the upload's name in a path that ``location`` answers, or None."""
    found = _PATH.fullmatch(path)
    return None if found is None else found[1]


async def external_update(engine: "Engine", body: TaskResultBody) -> UpdateTask:
    """Read a report that may name its output.

    Raises:
        InvalidError: As ``to_update`` and ``external_payload``.
    """
    path = body.external_output_payload_storage_path
    return to_update(body, await external_payload(engine, path, "externalOutputPayloadStoragePath"))


async def external_start(engine: "Engine", body: StartBody, *, strict: bool) -> StartRequest:
    """Read a wish to start a workflow that may name its input.

    Raises:
        InvalidError: As ``to_start`` and ``external_payload``.
    """
    path = body.external_input_payload_storage_path
    uploaded = await external_payload(engine, path, "externalInputPayloadStoragePath")
    return to_start(body, strict=strict, uploaded=uploaded)


async def external_payload(engine: "Engine", path: str | None, field: str) -> "Payload | None":
    """Return the payload that was uploaded to a path; None when no path is given.

    Raises:
        InvalidError: Nothing was uploaded there; ``field`` is named.
        StoreError: It cannot be read.
    """
    if not path:
        return None
    name = name_of(path)
    raw = None
    if name is not None and engine.uploads is not None:
        raw = await engine.uploads.get(name)
    if raw is None:
        raise refuse(
            field,
            "nothing was uploaded to this path, or more than a day ago; ask "
            "externalstoragelocation for one, upload to its uri, and name its path",
            path,
        )
    return payload_of(msgspec.Raw(raw), field)
