"""What a job is to be started with: its input and options, checked. Pure."""

from typing import Any

import msgspec

from batuta.api.body import decode_whole
from batuta.dialects.checkpointed.door.form import Sent
from batuta.model.error import InvalidError

# What steps can do something with; a workflow may name others in `accepted_types`.
ACCEPTED = ("image/*", "video/*", "audio/*", "text/plain", "application/json", "application/pdf")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A job's input, which its first step gets, and its options."""

    input: dict[str, Any]
    options: dict[str, Any]


def read_wish(sent: Sent, config: dict[str, Any]) -> Wish:
    """Return what a request asks for.

    Raises:
        InvalidError: The options are no object, or the file is not of a kind that is accepted.
    """
    options = _object("options", sent.fields.get("options"))
    given = sent.fields.get("input")
    fields = {k: v for k, v in sent.fields.items() if k not in {"workflow_id", "options", "input"}}
    found = {**_object("input", given), **fields}
    if sent.file is not None:
        _check_kind(sent.file.media_type, config)
        found |= {
            "url": sent.file.url,
            "filename": sent.filename,
            "content_type": sent.file.media_type,
            "size_bytes": sent.file.size_bytes,
        }
    elif config.get("requires_input_image") is True and not _has_image(found):
        raise InvalidError("file is required: the workflow begins with an image")
    return Wish(input={**found, "options": options}, options=options)


def _object(name: str, given: Any) -> dict[str, Any]:
    """Return an object of a JSON body, or of the text of a form's field."""
    if given is None or given == "":
        return {}
    if isinstance(given, str):
        try:
            given = decode_whole(given.encode())
        except InvalidError as error:
            raise InvalidError(f"{name} is no JSON: {error.message}") from None
    if not isinstance(given, dict):
        raise InvalidError(f"{name} must be an object")
    return given


def _check_kind(media_type: str, config: dict[str, Any]) -> None:
    accepted = config.get("accepted_types") or ACCEPTED
    major = media_type.partition("/")[0]
    if media_type not in accepted and f"{major}/*" not in accepted and "*/*" not in accepted:
        raise InvalidError(
            f"a file of type {media_type} is not accepted; allowed are {', '.join(accepted)}"
        )


def _has_image(found: dict[str, Any]) -> bool:
    return any(isinstance(found.get(key), str) and found[key] for key in ("image_url", "url"))
