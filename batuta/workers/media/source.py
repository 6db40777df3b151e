"""What a URL in a config stands for: one of our files, inline data, or something to fetch.

Users choose these URLs, so that what is fetched goes through the rule of allowed targets. A name of
our files is as good as a key, so that whoever names one under whatever host means that file.
"""

import asyncio
import base64
import binascii
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from batuta.model.error import InvalidError
from batuta.store.blob.media import FILES_PATH, OTHER_TYPE, MediaFile, known_type, type_of
from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError, TroubleError, shown
from batuta.workers.system.request import HttpRequest

if TYPE_CHECKING:
    import aiohttp

IMAGE_BYTES_MAX = 25_000_000  # that is sent to a provider; OpenAI takes no more than 50 MB
URL_CHARACTERS_MAX = 8_192
CONNECT_MS, READ_MS = 10_000, 30_000
PIECE_BYTES = 262_144
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.IGNORECASE)
_TROUBLE = frozenset({408, 425, 429})
_VAGUE = frozenset({"", OTHER_TYPE, "binary/octet-stream", "application/binary"})


def is_data(url: str) -> bool:
    """Tell whether a URL is the thing itself."""
    return url[:5].lower() == "data:"


def own_file(services: Services, url: str) -> Path | None:
    """Return the media file of ours that a URL names; None when it names none."""
    if services.media is None or is_data(url):
        return None
    try:
        path = urlsplit(url).path
    except ValueError:
        return None
    head, slash, name = path.rpartition(FILES_PATH)
    return services.media.path(name) if slash and not head else None


def checked(url: Any, key: str) -> str:
    """Return a URL that can be used: http, https, data, or a file of ours.

    Raises:
        NodeError: It is anything else.
    """
    if isinstance(url, str):
        text = url.strip()
        if is_data(text):
            return text
        if len(text) <= URL_CHARACTERS_MAX and text.startswith(("http://", "https://", FILES_PATH)):
            return text
    raise NodeError(
        f"{key} is {shown(url)}; give an address that begins with http://, https://, data: or "
        f"{FILES_PATH}"
    )


def read_data(url: str) -> tuple[bytes, str]:
    """Return what a data URL holds, and its media type.

    Raises:
        NodeError: It cannot be read.
    """
    found = _DATA.match(url)
    if found is None:
        raise NodeError("a data: address cannot be read; write it as data:image/png;base64,...")
    rest = url[found.end() :]
    try:
        raw = base64.b64decode(rest, validate=True) if found[3] else unquote_to_bytes(rest)
    except (binascii.Error, ValueError) as error:
        raise NodeError(f"a data: address holds what is no base64: {error}") from None
    return raw, (found[1] or "text/plain").lower()


async def image_bytes(services: Services, url: str) -> tuple[bytes, str]:
    """Return a picture and its media type, wherever it is.

    Raises:
        NodeError: There is none, it is too large, or no picture. TroubleError: It may pass.
    """
    pieces: list[bytes] = []
    media_type = await take(
        services, url, pieces.append, kinds=("image",), bytes_max=IMAGE_BYTES_MAX
    )
    return b"".join(pieces), media_type


async def as_sent(services: Services, url: str) -> str:
    """Return the URL of a picture as a provider can use it: a file of ours becomes its data.

    Raises:
        NodeError: The file is too large, or no picture.
    """
    if is_data(url) or own_file(services, url) is None:
        return url
    raw, media_type = await image_bytes(services, url)
    return f"data:{media_type};base64,{base64.b64encode(raw).decode()}"


async def take(
    services: Services,
    url: str,
    sink: Callable[[bytes], object],
    *,
    kinds: Sequence[str],
    bytes_max: int,
) -> str:
    """Give all bytes behind a URL to ``sink``, piece by piece; return their media type.

    Args:
        kinds: What it may be: image, audio, video.

    Raises:
        NodeError: There is nothing, it is too large, of another kind, or not allowed.
        TroubleError: It may pass.
    """
    left = _Counted(sink, bytes_max)
    path = own_file(services, url)
    if path is not None:
        await asyncio.to_thread(_copy, path, left)
        return _judged(type_of(path.name), kinds, url)
    if is_data(url):
        raw, media_type = read_data(url)
        left(raw)
        return _judged(known_type(media_type), kinds, url)
    if not url.startswith(("http://", "https://")):
        raise NodeError(f"there is no file {shown(url)} here; it goes with the run it belongs to")
    return await _fetch(services, url, left, kinds)


async def stored(services: Services, url: str, *, workflow_id: str) -> str:
    """Return the URL of what is named; inline data becomes a media file, others stay as they are.

    Raises:
        NodeError: The data cannot be read, is too large, or there is no folder for it.
    """
    if not is_data(url):
        return url
    raw, media_type = read_data(url)
    return url_of(services, await keep(services, raw, media_type, workflow_id=workflow_id))


async def keep(services: Services, source: Any, media_type: str, *, workflow_id: str) -> MediaFile:
    """Keep bytes, or what gives them, as a media file of a run.

    Raises:
        NodeError: It is too large, or the server has no folder for it.
    """
    if services.media is None:
        raise NodeError(
            "this server has no folder for media files; set BATUTA_BLOB_FOLDER to one that all "
            "servers of the database share"
        )
    try:
        return await services.media.put(source, media_type=media_type, workflow_id=workflow_id)
    except InvalidError as error:
        raise NodeError(error.message) from None


def url_of(services: Services, file: MediaFile) -> str:
    """Return the URL of a media file for outputs."""
    return services.ai.public_url.rstrip("/") + file.url


class _Counted:
    """Passes pieces on until there are too many bytes."""

    def __init__(self, sink: Callable[[bytes], object], bytes_max: int) -> None:
        self._sink = sink
        self._bytes_max = self._left = bytes_max

    def __call__(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise NodeError(f"a file is larger than {self._bytes_max:,} bytes")
        self._sink(piece)


def _copy(path: Path, sink: Callable[[bytes], object]) -> None:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            while piece := file.read(PIECE_BYTES):
                sink(piece)
    except OSError as error:
        raise TroubleError(f"a media file cannot be read: {error.strerror}") from error


async def _fetch(
    services: Services, url: str, sink: Callable[[bytes], object], kinds: Sequence[str]
) -> str:
    from batuta.workers.system.connection import CallError, RefusedCallError, call
    from batuta.workers.system.connection import shown as place

    found = OTHER_TYPE

    async def read(response: "aiohttp.ClientResponse") -> bytes:
        nonlocal found
        if response.status < 300:
            found = _judged(_type_of(response, url), kinds, place(url))
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                sink(piece)
        return b""

    request = HttpRequest(method="GET", uri=url, connect_ms=CONNECT_MS, read_ms=READ_MS)
    try:
        answer = await call(request, services.targets, read=read)
    except RefusedCallError as error:
        raise NodeError(str(error)) from None
    except CallError as error:
        raise TroubleError(str(error)) from None
    if answer.is_success:
        return found
    text = f"{answer.status} from GET {place(url)}"
    if answer.status in _TROUBLE or answer.status >= 500:
        raise TroubleError(text)
    raise NodeError(text)


def _type_of(response: "aiohttp.ClientResponse", url: str) -> str:
    """Return the media type of an answer: as its server says, or as its name does."""
    given = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in _VAGUE:
        return given
    return type_of(urlsplit(url).path)


def _judged(media_type: str, kinds: Sequence[str], url: str) -> str:
    if media_type == OTHER_TYPE or media_type.partition("/")[0] in kinds:
        return media_type
    what = " or ".join(kinds)
    raise NodeError(f"{shown(url)} is {media_type[:80]}; {what} was asked for")
