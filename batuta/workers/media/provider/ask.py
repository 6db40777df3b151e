"""One request to a provider: bounded in time and size, its key told to nobody else.

The operator has chosen the address, so that any may be called; a redirect is not followed, since
it would take the key elsewhere.
"""

import email.utils
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from batuta import __version__
from batuta.runtime.clock import wall_ms
from batuta.store.blob.media import MediaFile
from batuta.workers.media.ai import Services
from batuta.workers.media.call import WAIT_MS_MAX, NodeError, TroubleError
from batuta.workers.media.source import keep

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 10.0
JSON_BYTES_MAX = 4_000_000  # of an answer; a text is kept with its task
PICTURE_BYTES_MAX = 64_000_000  # of an answer that has pictures in base64
MESSAGE_CHARACTERS = 500  # of a provider's message in ours
PIECE_BYTES = 65_536
_TROUBLE = frozenset({408, 409, 425, 429})
_SECRETS = re.compile(r"(?i)(sk-|(?:key|bearer)[ :=]+(?=\S*\d))[\w.:\-]{8,}")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's API. Its text shows no key; ``secrets`` are cut out of what it answers."""

    name: str
    url: str
    headers: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Target({self.name!r}, {self.url!r})"


async def ask(
    target: Target,
    method: str,
    url: str,
    *,
    body: Any = None,
    form: Any = None,
    wait_s: float,
    bytes_max: int = 0,
) -> Any:
    """Make a request and return the JSON of its answer.

    Args:
        url: Below the target's, or a path on it.
        body: Sent as JSON. ``form``: sent as it is, an ``aiohttp.FormData``.
        wait_s: For the whole of it.
        bytes_max: Of the answer; 0 is JSON_BYTES_MAX.

    Raises:
        NodeError: The provider refuses, or answers what is no JSON. TroubleError: It may pass.
    """

    async def read(response: "aiohttp.ClientResponse") -> Any:
        raw = await _read(response, bytes_max or JSON_BYTES_MAX, target)
        try:
            found = msgspec.json.decode(raw)
            return _without_nul(found) if b"\\u0000" in raw else found
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TroubleError(
                f"{target.name} answered {response.status} with what is no JSON: {error}"
            ) from None

    return await _exchange(target, method, url, body=body, form=form, wait_s=wait_s, read=read)


async def ask_file(
    target: Target,
    url: str,
    *,
    body: Any,
    services: Services,
    media_type: str,
    workflow_id: str,
    wait_s: float,
) -> MediaFile:
    """Post a request and keep its answer, which is no JSON, as a media file.

    Raises:
        NodeError, TroubleError: As ``ask``; and an answer that is not of that kind of media.
    """

    async def read(response: "aiohttp.ClientResponse") -> MediaFile:
        given = response.headers.get("content-type", media_type)
        kind = given.partition("/")[0]
        if kind not in (media_type.partition("/")[0], "application"):
            raise TroubleError(f"{target.name} answered {given[:80]!r} where sound was asked for")
        real = given if kind != "application" else media_type
        return await keep(
            services, response.content.iter_chunked(PIECE_BYTES), real, workflow_id=workflow_id
        )

    found: MediaFile = await _exchange(
        target, "POST", url, body=body, form=None, wait_s=wait_s, read=read
    )
    return found


async def _exchange(
    target: Target, method: str, url: str, *, body: Any, form: Any, wait_s: float, read: Any
) -> Any:
    import aiohttp

    headers = {"User-Agent": f"batuta/{__version__}", "Accept": "*/*", **target.headers}
    data = form
    if body is not None:
        data, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
    timeout = aiohttp.ClientTimeout(total=wait_s, connect=CONNECT_S)
    where = url if url.startswith(("http://", "https://")) else target.url + url
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
            ) as session,
            session.request(
                method, where, headers=headers, data=data, allow_redirects=False
            ) as response,
        ):
            if response.status >= 300:
                await _refuse(response, target)
            return await read(response)
    except TimeoutError:
        raise TroubleError(f"{target.name} did not answer within {wait_s:g} s") from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise NodeError(f"the address of {target.name} cannot be read: {error}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:MESSAGE_CHARACTERS] or type(error).__name__
        raise TroubleError(f"{target.name} cannot be reached: {why}") from None


async def _refuse(response: "aiohttp.ClientResponse", target: Target) -> None:
    """Raise what an answer that is no success means."""
    raw = await _read(response, 1_000_000, target)
    said = message_of(raw, target)
    text = f"{target.name} answered {response.status}" + (f": {said}" if said else "")
    if response.status in _TROUBLE or response.status >= 500:
        raise TroubleError(text, _retry_after_ms(response.headers.get("retry-after", "")))
    if response.status < 400:
        raise NodeError(f"{text}; a redirect is not followed, because it would take the key along")
    raise NodeError(text)


async def _read(response: "aiohttp.ClientResponse", bytes_max: int, target: Target) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in response.content.iter_chunked(PIECE_BYTES):
        size_bytes += len(piece)
        if size_bytes > bytes_max:
            response.close()
            raise NodeError(f"the answer of {target.name} is larger than {bytes_max:,} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _without_nul(value: Any) -> Any:
    """Return a document without NUL, which is in no text for people and which no database takes."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(one) for one in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(one) for key, one in value.items()}
    return value


def message_of(raw: bytes, target: Target) -> str:
    """Return what an error's body says, without anything that looks like a key."""
    text = raw[: 4 * MESSAGE_CHARACTERS].decode("utf-8", "replace")
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = text
    return cleaned(_said(found), target)


def cleaned(text: str, target: Target) -> str:
    """Cut a text to size, and what is a key or looks like one out of it."""
    for secret in target.secrets:
        if secret:
            text = text.replace(secret, "***")
    return _SECRETS.sub(r"\1***", " ".join(text.split()))[:MESSAGE_CHARACTERS]


def _said(found: Any, depth: int = 0) -> str:
    """Return the words of an error: OpenAI's ``error.message``, fal's ``detail[].msg``."""
    if isinstance(found, str):
        return found
    if isinstance(found, dict) and depth < 4:
        for key in ("error", "detail", "message", "msg"):
            if found.get(key):
                return _said(found[key], depth + 1)
    if isinstance(found, list) and depth < 4:
        return "; ".join(_said(one, depth + 1) for one in found[:5])
    return msgspec.json.encode(found).decode() if found else ""


def _retry_after_ms(text: str) -> int:
    """Read a Retry-After of seconds or of a date; 0 when it is neither."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return min(int(float(text) * 1_000), WAIT_MS_MAX)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0
    return max(0, min(int(at.timestamp() * 1_000) - wall_ms(), WAIT_MS_MAX))
