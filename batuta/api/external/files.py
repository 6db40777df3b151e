"""Media files for whoever has their name: pictures and films to look at, the rest to download.

What a provider or a user has put into a file is nobody's page here: it is never sniffed, runs
nothing, and is of an origin of its own.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from pathlib import Path

from batuta.api.request import HttpError, Reply, Request, Route
from batuta.model.error import NotFoundError
from batuta.store.blob.media import FILES_PATH, type_of

PIECE_BYTES = 262_144
_SHOWN = ("image/", "audio/", "video/")
_POLICY = b"default-src 'none'; sandbox"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def get_file(request: Request) -> Reply:
    """Give a file, or the part of it that is asked for, piece by piece.

    A range that is written in another way than one ``bytes=first-last`` is not heeded, as HTTP
    allows.

    Raises:
        NotFoundError: There is none of that name.
        HttpError: 416, the range begins behind the file's end.
    """
    name = request.values[0]
    media = request.engine.media
    path = None if media is None else await asyncio.to_thread(media.path, name)
    if path is None:
        raise NotFoundError(f"there is no file {name!r}; it goes with the run it belongs to")
    size_bytes = (await asyncio.to_thread(path.stat)).st_size
    asked = dict(request.scope["headers"]).get(b"range", b"").decode("latin-1")
    part = _part(asked, size_bytes)
    first, end = part or (0, size_bytes)
    kind = type_of(name)
    headers = [
        (b"accept-ranges", b"bytes"),
        (b"content-security-policy", _POLICY),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"private, max-age=31536000, immutable"),  # a name is used once
    ]
    if part is not None:
        headers.append((b"content-range", f"bytes {first}-{end - 1}/{size_bytes}".encode()))
    if not kind.startswith(_SHOWN):
        headers.append((b"content-disposition", b"attachment"))
    status = 200 if part is None else 206
    if end - first <= PIECE_BYTES:  # headers and body leave in one segment
        body = b"".join([piece async for piece in _read(path, first, end)])
        return Reply(status, body, kind.encode(), tuple(headers))
    headers.append((b"content-length", str(end - first).encode()))
    chunks = _read(path, first, end)
    return Reply(status, media=kind.encode(), headers=tuple(headers), chunks=chunks)


def _part(asked: str, size_bytes: int) -> tuple[int, int] | None:
    """Return the first byte of a range and the one behind its last; None: all of the file."""
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if found[1]:
        first = int(found[1])
        end = min(int(found[2]) + 1, size_bytes) if found[2] else size_bytes
        if found[2] and int(found[2]) < first:
            return None
    else:
        first, end = max(size_bytes - int(found[2]), 0), size_bytes
    if first >= end:
        where = ((b"content-range", f"bytes */{size_bytes}".encode()),)
        raise HttpError(416, "NO_SUCH_RANGE", f"the file has {size_bytes} bytes", where)
    return first, end


async def _read(path: Path, first: int, end: int) -> AsyncGenerator[bytes, None]:
    # opened here, so that an answer that is never sent has nothing to close
    file = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while first < end:
            piece = await asyncio.to_thread(os.pread, file, min(PIECE_BYTES, end - first), first)
            if not piece:
                return
            first += len(piece)
            yield piece
    finally:
        os.close(file)


FILE_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path=f"{FILES_PATH}{{name}}",
        handler=get_file,
        summary="Give a picture, film or sound that a node has made, or a range of it",
        group="server",
        answer=bytes,
        also=(206, 404, 416),
    ),
)
