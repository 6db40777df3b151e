"""What the front doors share whose originals were written with the same framework."""

import http
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from batuta.api.request import Reply, json_reply
from batuta.model.error import BatutaError, InvalidError


def render(status: int, error: BatutaError) -> Reply:
    """Word an error as `{message, error, statusCode}`; several faults are a list of sentences."""
    message: Any = error.message
    if isinstance(error, InvalidError) and error.faults:
        message = [f"{fault.path} {fault.message}".strip() for fault in error.faults]
    try:
        word = http.HTTPStatus(status).phrase
    except ValueError:
        word = "Error"
    headers = getattr(error, "headers", ())
    body = {"message": message, "error": word, "statusCode": status}
    return replace(json_reply(body, status), headers=headers)


def moment(at_ms: int) -> str:
    """Return a time as JavaScript prints it: ISO 8601 in UTC, to the millisecond."""
    text = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
