"""Making an HTTP request by aiohttp, so that only allowed addresses are ever connected.

Imported when the first HTTP task is taken, since aiohttp takes 0.4 s. A name is resolved once for
each connection, every address found is checked, and again the one that is connected; a redirect
is a new request, checked like the first. Nothing is kept between tasks: no connection, no cookie,
no proxy from the environment, which would connect in our place.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from batuta import __version__
from batuta.workers.system.answer import Answer
from batuta.workers.system.request import HttpRequest
from batuta.workers.system.target import Targets

BODY_BYTES_MAX = 8_000_000  # of an answer, decompressed; as much as a request to us may have
REDIRECTS_MAX = 5
TOTAL_S = 600.0  # a whole task, redirects included, so that a trickling server cannot hold it
PIECE_BYTES = 65_536
_FOLLOWED = frozenset({301, 302, 303, 307, 308})
# All that a server of another origin is told: any other header may hold a secret of the first.
_PASSED_ON = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_OF_BODY = frozenset({"content-type", "content-encoding", "content-language"})

Found = tuple[socket.AddressFamily, str]
Lookup = Callable[[str, int], Awaitable[list[Found]]]
"""Resolves a name (and port) to addresses, best first."""
Reader = Callable[[aiohttp.ClientResponse], Awaitable[bytes]]


class CallError(Exception):
    """There is no answer; the text says why."""


class RefusedCallError(CallError):
    """The call is not made, however often it is tried: its address is not allowed, or none."""


class _DeniedError(OSError):
    """An address that may not be called; aiohttp wraps it as what keeps a connection from us."""


async def look_up(name: str, port: int) -> list[Found]:
    """Resolve a name as the operating system does.

    Raises:
        OSError: It has no address.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


async def call(
    request: HttpRequest,
    targets: Targets,
    lookup: Lookup = look_up,
    *,
    read: Reader | None = None,
) -> Answer:
    """Make the request and follow its redirects, REDIRECTS_MAX at most.

    Args:
        read: Takes the body as it comes instead of the answer, whose body is what it returns.

    Raises:
        CallError: The target is not allowed, or there was no whole answer in time.
    """
    url = _url(request.uri)
    total_s = max(TOTAL_S, (request.connect_ms + request.read_ms) / 1_000)
    try:
        async with asyncio.timeout(total_s):
            for _ in range(REDIRECTS_MAX + 1):
                answer = await _exchange(request, url, targets, lookup, read or _read)
                following = _redirect(request, url, answer)
                if following is None:
                    return answer
                request, url = following
    except TimeoutError:
        raise CallError(f"no whole answer from {shown(url)} within {total_s:g} s") from None
    raise CallError(f"more than {REDIRECTS_MAX} redirects, the last one to {shown(url)}")


def shown(url: yarl.URL | str) -> str:
    """Return a URL for people: without user, password and query, which may be secrets."""
    try:
        parsed = yarl.URL(url)
        return str(parsed.with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        return "the uri"


async def _exchange(
    request: HttpRequest, url: yarl.URL, targets: Targets, lookup: Lookup, read: Reader
) -> Answer:
    """Make one request on a connection of its own; a redirect's body is not read."""
    host = url.host or ""
    connector = aiohttp.TCPConnector(
        resolver=_Resolver(targets, lookup),
        use_dns_cache=False,
        socket_factory=lambda found: _open_socket(found, host, targets),
        force_close=True,
    )
    timeout = aiohttp.ClientTimeout(
        connect=request.connect_ms / 1_000, sock_read=request.read_ms / 1_000
    )
    names = {name.lower() for name, _ in request.headers}
    agent = [] if "user-agent" in names else [("User-Agent", f"batuta/{__version__}")]
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
                trust_env=False,
                skip_auto_headers=("Content-Type",),
            ) as session,
            session.request(
                request.method,
                url,
                headers=[*request.headers, *agent],
                data=request.body,
                allow_redirects=False,
            ) as response,
        ):
            is_redirect = response.status in _FOLLOWED and "location" in response.headers
            return Answer(
                status=response.status,
                phrase=(response.reason or "").encode("utf-8", "replace").decode(),
                headers=response.raw_headers,
                body=b"" if is_redirect else await read(response),
            )
    except (aiohttp.ClientError, OSError, ValueError) as error:
        denied = isinstance(getattr(error, "os_error", error), _DeniedError)
        kind = RefusedCallError if denied else CallError
        raise kind(_why(error, request, url)) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in response.content.iter_chunked(PIECE_BYTES):
        size_bytes += len(piece)
        if size_bytes > BODY_BYTES_MAX:
            response.close()
            raise CallError(
                f"the body of the {response.status} from {shown(response.url)} is larger than "
                f"{BODY_BYTES_MAX:,} bytes"
            )
        pieces.append(piece)
    return b"".join(pieces)


def _why(error: Exception, request: HttpRequest, url: yarl.URL) -> str:
    """Say why there is no answer, in words of the input where one of its limits is the reason."""
    cause: Any = getattr(error, "os_error", error)
    match error:
        case _ if isinstance(cause, _DeniedError):
            why = f"not allowed: {cause}"
        case aiohttp.ConnectionTimeoutError():
            why = f"no connection within {request.connect_ms:,} ms (connectionTimeOut)"
        case TimeoutError():
            why = f"no answer within {request.read_ms:,} ms (readTimeOut)"
        case aiohttp.ClientConnectorCertificateError():
            why = f"its certificate is not trusted: {error.certificate_error}"
        case aiohttp.ClientConnectorDNSError():
            why = f"the name has no address: {cause.strerror or cause}"
        case aiohttp.ClientConnectorError():
            why = f"cannot connect: {cause.strerror or cause}"
        case aiohttp.ServerDisconnectedError():
            why = "the server hung up without an answer"
        case aiohttp.ClientPayloadError():
            why = f"the answer broke off: {error}"
        case aiohttp.ClientResponseError():
            why = f"the answer is no HTTP: {error.message}"
        case _:
            why = str(error) or type(error).__name__
    return f"{request.method} {shown(url)}: {' '.join(why.split())}"


def _url(text: str) -> yarl.URL:
    try:
        url = yarl.URL(text)
        _ = url.port  # it is parsed only now
    except ValueError as error:
        raise RefusedCallError(f"uri cannot be read: {error}") from None
    if url.scheme not in ("http", "https"):
        raise RefusedCallError(
            f"uri begins with {url.scheme!r}; only http:// and https:// are called"
        )
    if not url.host:
        raise RefusedCallError("uri names no host")
    return url.with_fragment(None)


def _redirect(
    request: HttpRequest, url: yarl.URL, answer: Answer
) -> tuple[HttpRequest, yarl.URL] | None:
    """Return what a redirect asks for; None when the answer is none."""
    location = answer.header("location")
    if answer.status not in _FOLLOWED or not location:
        return None
    try:
        target = url.join(yarl.URL(location))
    except ValueError as error:
        raise CallError(f"{shown(url)} redirects to what cannot be read: {error}") from None
    if target.scheme not in ("http", "https") or not target.host:
        raise CallError(f"{shown(url)} redirects to {target.scheme!r}, which is not followed")
    if url.scheme == "https" and target.scheme == "http":
        raise CallError(f"{shown(url)} redirects to plain http, which is not followed")
    changes: dict[str, Any] = {}
    headers = request.headers
    becomes_get = answer.status == 303 and request.method != "HEAD"
    if becomes_get or (answer.status in (301, 302) and request.method == "POST"):
        changes = {"method": "GET", "body": None}
        headers = tuple(pair for pair in headers if pair[0].lower() not in _OF_BODY)
    if target.origin() != url.origin():
        headers = tuple(pair for pair in headers if pair[0].lower() in _PASSED_ON)
    changes["headers"] = headers
    return msgspec.structs.replace(request, **changes), target.with_fragment(None)


class _Resolver(AbstractResolver):
    """Resolves a name once, and gives its addresses only if each of them may be called."""

    def __init__(self, targets: Targets, lookup: Lookup) -> None:
        self._targets = targets
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the addresses of a name; one that is denied denies the name."""
        found = await self._lookup(host, port)
        for _, address in found:
            if denial := self._targets.denial(host, address):
                raise _DeniedError(denial)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found_family,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for found_family, address in found
            if family in (socket.AF_UNSPEC, found_family)
        ]

    async def close(self) -> None:
        """Hold nothing."""


def _open_socket(found: tuple[Any, ...], host: str, targets: Targets) -> socket.socket:
    """Open the socket for an address that is about to be connected, if it may be."""
    family, kind, protocol, _, address = found
    if denial := targets.denial(host, str(address[0])):
        raise _DeniedError(denial)
    return socket.socket(family=family, type=kind, proto=protocol)
