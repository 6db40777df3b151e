"""Where a client uploads a large payload, and downloads it: locations of this server.

Source: conductor WorkflowResource.getExternalStorageLocation; the Java client's PayloadStorage
puts the bytes to the uri without a content type of ours, and names the path in its next request.
"""

import re

import msgspec

from batuta.api.body import decode_whole, refuse
from batuta.api.external.payload import name_of
from batuta.api.request import (
    EMPTY,
    HttpError,
    Parameter,
    Reply,
    Request,
    Route,
    json_reply,
    read_body,
)
from batuta.model.error import ConflictError, NotFoundError
from batuta.store.blob.upload import Uploads

UPLOADS_PATH = "/api/batuta/payload/"
_OPERATIONS = ("READ", "WRITE")
_KINDS = {
    "WORKFLOW_INPUT": "workflow/input",
    "WORKFLOW_OUTPUT": "workflow/output",
    "TASK_INPUT": "task/input",
    "TASK_OUTPUT": "task/output",
}
_HOST = re.compile(r"[\w.\-]+(:\d+)?|\[[0-9a-f:]+\](:\d+)?", re.ASCII | re.IGNORECASE)


class LocationBody(msgspec.Struct, frozen=True):
    """Where to send the bytes, and how to name them. Source: conductor ExternalStorageLocation."""

    uri: str
    path: str


async def get_location(request: Request) -> Reply:
    """Say where a payload may be uploaded to, or where one that was is.

    To write, the path is always a new one of ours, whichever was asked for.
    """
    uploads = _uploads(request)
    operation = _word(request, "operation", _OPERATIONS)
    kind = _KINDS[_word(request, "payloadType", tuple(_KINDS))]
    if operation == "WRITE":
        name = await uploads.issue()
        return json_reply(LocationBody(_uri(request, name), f"{kind}/{name}.json"))
    path = request.text("path") or ""
    found = name_of(path)
    if found is None or await uploads.get(found) is None:
        raise refuse("path", "nothing was uploaded to this path, or more than a day ago", path)
    return json_reply(LocationBody(_uri(request, found), path))


async def put_payload(request: Request) -> Reply:
    """Keep an uploaded payload: a JSON object, judged as the body of a request is."""
    uploads = _uploads(request)
    body = (await read_body(request, uploads.bytes_max)).strip()
    if not body.startswith(b"{"):
        raise refuse("body", "expected a JSON object")
    decode_whole(body)
    if not await uploads.put(request.values[0], body):
        raise _no_such()
    return EMPTY


async def get_payload(request: Request) -> Reply:
    """Give an uploaded payload, byte for byte."""
    raw = await _uploads(request).get(request.values[0])
    if raw is None:
        raise _no_such()
    return Reply(200, raw, b"application/json")


def _uploads(request: Request) -> Uploads:
    uploads = request.engine.uploads
    if uploads is None:
        raise ConflictError(
            "this server keeps no uploads, because it has no folder for them; set "
            "BATUTA_BLOB_FOLDER to one that all servers of the database share"
        )
    return uploads


def _no_such() -> NotFoundError:
    return NotFoundError("there is no such upload; ask externalstoragelocation for a new one")


def _word(request: Request, name: str, allowed: tuple[str, ...]) -> str:
    given = request.text(name) or ""
    if given.upper() not in allowed:
        raise refuse(name, f"expected one of {', '.join(allowed)}, got {given[:40]!r}", given)
    return given.upper()


def _uri(request: Request, name: str) -> str:
    """Return our own address as the client has reached it; the door has judged its Host."""
    hosts = (value for key, value in request.scope["headers"] if key == b"host")
    host = next(hosts, b"").decode("latin-1")
    if not _HOST.fullmatch(host):
        raise HttpError(400, "WRONG_HOST", f"no address can be made of Host {host[:80]!r}")
    return f"{request.scope.get('scheme', 'http')}://{host}{UPLOADS_PATH}{name}"


_QUERY = (
    Parameter(
        "path",
        str,
        note="To read: as answered before. To write it is chosen for you.",
        is_required=True,
    ),
    Parameter("operation", str, note="READ or WRITE.", is_required=True),
    Parameter("payloadType", str, note=f"One of {', '.join(_KINDS)}.", is_required=True),
)


def _location(group: str, path: str) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=get_location,
        summary="Say where a large payload is uploaded to or downloaded from",
        group=group,
        answer=LocationBody,
        also=(400, 409),
        query=_QUERY,
    )


EXTERNAL_ROUTES: tuple[Route, ...] = (
    _location("workflow", "/api/workflow/externalstoragelocation"),
    _location("workflow", "/api/workflow/external-storage-location"),
    _location("task", "/api/tasks/externalstoragelocation"),
    _location("task", "/api/tasks/external-storage-location"),
    Route(
        method="PUT",
        path=f"{UPLOADS_PATH}{{name}}",
        handler=put_payload,
        summary="Upload a payload to a location that was answered before",
        group="server",
        request=bytes,
        also=(400, 404, 409, 429),
    ),
    Route(
        method="GET",
        path=f"{UPLOADS_PATH}{{name}}",
        handler=get_payload,
        summary="Download an uploaded payload",
        group="server",
        answer=bytes,
        also=(404, 409),
    ),
)
