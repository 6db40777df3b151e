"""Reading what a job is started with: a form with a file, or JSON.

A file goes to disk as it comes; nothing of it is kept in memory, and nothing that its sender says
of it becomes part of a path.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from batuta.api.body import decode_whole
from batuta.api.request import BODY_WAIT_S, ClientGoneError, HttpError, Request, read_body
from batuta.model.error import InvalidError
from batuta.store.blob.media import MediaFile, MediaFiles

FIELD_BYTES_MAX = 1_000_000  # of one field that is no file
FIELDS_MAX = 100
NAME_CHARACTERS_MAX = 255
UPLOAD_WAIT_S = 3_600.0  # for a whole form with a file
FILE_FIELD = "file"


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brought: its fields, and its file with the name that it had there."""

    fields: dict[str, Any]
    file: MediaFile | None = None
    filename: str = ""


async def read_sent(request: Request, media: MediaFiles | None, job_id: str) -> Sent:
    """Read the body of a request, whatever it is.

    Args:
        job_id: The file is kept for this job.

    Raises:
        InvalidError: It cannot be read, or something in it is too large.
        HttpError: 413, 408, 415. ClientGoneError: The client hung up.
    """
    given = next((v for n, v in request.scope["headers"] if n == b"content-type"), b"")
    kind, options = parse_options_header(given)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise InvalidError("the form has no boundary; let your client write Content-Type")
        return await _read_form(request, boundary, media, job_id)
    if kind not in {b"", b"application/json", b"text/json"}:
        raise HttpError(415, "WRONG_MEDIA", "send multipart/form-data or application/json")
    body = await read_body(request)
    fields = decode_whole(body) if body.strip() else {}
    if not isinstance(fields, dict):
        raise InvalidError("the body must be an object")
    return Sent(fields=fields)


class _Part:
    """A part of a form while it comes."""

    def __init__(self) -> None:
        self.headers: dict[str, bytes] = {}
        self.pieces: deque[bytes] = deque()
        self.is_whole = False

    def about(self) -> tuple[str, str | None]:
        """Return the part's name, and the file's name if it is one.

        Raises:
            InvalidError: It has no name.
        """
        kind, options = parse_options_header(self.headers.get("content-disposition", b""))
        if kind != b"form-data" or not options.get(b"name"):
            raise InvalidError("a part of the form has no name")
        filename = options.get(b"filename")
        shown = None if filename is None else filename.decode("utf-8", "replace")
        return options[b"name"].decode("utf-8", "replace"), shown


class _Form:
    """Parses a form as it comes: parts in their order, each with the pieces that are here."""

    def __init__(self, boundary: bytes, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._begun: deque[_Part] = deque()
        self._part = _Part()
        self._name = self._value = b""
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": lambda: self._begun.append(self._part),
                "on_part_data": self._data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    async def parts(self) -> AsyncIterator[_Part]:
        """Yield the parts; each has to be read to its end before the next."""
        count = 0
        while self._begun or not self._is_whole:
            if not self._begun:
                await self._more()
                continue
            count += 1
            if count > FIELDS_MAX:
                raise InvalidError(f"the form has more than {FIELDS_MAX} fields")
            yield self._begun.popleft()

    async def pieces(self, part: _Part) -> AsyncIterator[bytes]:
        """Yield what a part holds, as it comes."""
        while part.pieces or not part.is_whole:
            if part.pieces:
                yield part.pieces.popleft()
            else:
                await self._more()

    async def _more(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise InvalidError("the form ends in its middle")
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidError(f"the form cannot be read: {error}") from error

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._name.decode("latin-1").lower()] = self._value
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._part.pieces.append(data[start:end])

    def _end_part(self) -> None:
        self._part.is_whole = True

    def _end(self) -> None:
        self._is_whole = True


async def _read_form(
    request: Request, boundary: bytes, media: MediaFiles | None, job_id: str
) -> Sent:
    fields: dict[str, Any] = {}
    file: MediaFile | None = None
    filename = ""
    try:
        form = _Form(boundary, _chunks(request))
        async with asyncio.timeout(UPLOAD_WAIT_S):
            async for part in form.parts():
                name, sent_as = part.about()
                pieces = form.pieces(part)
                if sent_as is None or name != FILE_FIELD:
                    if sent_as is not None:
                        raise InvalidError(f"the file has to be in the field {FILE_FIELD!r}")
                    fields[name] = await _text(name, pieces)
                elif file is not None:
                    raise InvalidError("the form has two files; send one")
                elif media is None:
                    raise InvalidError("this server keeps no files; set BATUTA_BLOB_FOLDER")
                else:
                    kind = part.headers.get("content-type", b"").decode("latin-1")
                    file = await media.put(pieces, media_type=kind, workflow_id=job_id)
                    filename = plain_name(sent_as)
    except FormParserError as error:
        raise InvalidError(f"the form cannot be read: {error}") from error
    except TimeoutError as error:
        raise HttpError(408, "TOO_SLOW", "the file was not here in time") from error
    return Sent(fields=fields, file=file, filename=filename)


def plain_name(sent_as: str) -> str:
    """Return the last part of a file's name, to be shown: no folders, nothing unprintable."""
    last = sent_as.replace("\\", "/").rpartition("/")[2]
    shown = "".join(sign for sign in last if sign.isprintable())[:NAME_CHARACTERS_MAX]
    return "" if shown in {".", ".."} else shown


async def _text(name: str, pieces: AsyncIterator[bytes]) -> str:
    found = bytearray()
    async for piece in pieces:
        found += piece
        if len(found) > FIELD_BYTES_MAX:
            raise InvalidError(f"the field {name!r} is larger than {FIELD_BYTES_MAX:,} bytes")
    try:
        text = found.decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"the field {name!r} is not UTF-8") from error
    if "\0" in text:
        raise InvalidError(f"the field {name!r} holds a NUL character; remove it")
    return text


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes; a client may be silent for BODY_WAIT_S at most."""
    is_whole = False
    while not is_whole:
        async with asyncio.timeout(BODY_WAIT_S):
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client hung up before its form was here")
        is_whole = not message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk
