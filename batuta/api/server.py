"""The ASGI application: the door, the dispatch, and the one table of errors.

A request goes: Host and Origin are checked, the route is found, its handler runs, and whatever
it raises becomes Conductor's error body here and nowhere else. The answer's body is sent as
one message with its length, so that it leaves in one piece with the headers: a client with
Nagle's counterpart on its side would stall for 40 ms otherwise (clients.md 1.4).
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from batuta.api.request import (
    PLACE_CHARACTERS_MAX,
    ClientGoneError,
    ErrorBody,
    FaultBody,
    HttpError,
    Message,
    Receive,
    Reply,
    Request,
    Route,
    Send,
    Settings,
    check_size,
    json_reply,
    unquote_text,
)
from batuta.api.routes import ROUTES
from batuta.model.error import (
    BatutaError,
    BusyError,
    ClosingError,
    ConflictError,
    DeniedError,
    Fault,
    InvalidError,
    NotFoundError,
    StoreError,
)

if TYPE_CHECKING:
    from batuta.runtime.engine import Engine

App = Callable[[Message, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
HOSTS_KNOWN_MAX = 100  # Host headers remembered as allowed; each is one port of one name
LENGTH_DIGITS_MAX = 18  # of a declared length that are read; a longer one is too large anyway
VALUE_CHARACTERS_MAX = 100  # of a wrong value that an error repeats

# From the special to the general; the first that fits counts.
ERRORS: tuple[tuple[type[BatutaError], int], ...] = (
    (NotFoundError, 404),
    (InvalidError, 400),
    (ConflictError, 409),
    (DeniedError, 403),
    (ClosingError, 503),
    (BusyError, 429),
    (StoreError, 500),
)
_BUG = "an unexpected error; the server's log has the details"
_HOSTNAME = socket.gethostname()
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_log = logging.getLogger("batuta.api")


def create_app(engine: "Engine", settings: Settings) -> App:
    """Return the ASGI application that serves Conductor's REST API from an engine.

    It answers requests sent to this machine's names and to ``settings.allowed_hosts`` only.
    How it is run (uvicorn, ports, signals) is the caller's business.
    """
    router = Router(ROUTES)
    door = _Door(settings.allowed_hosts, settings.body_bytes_max)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _answer_other(scope, receive, send)
            return
        request = Request(engine, settings, scope, receive)
        try:
            door.check(scope)
            route = router.find(request)
            reply = await route.handler(request)
        except ClientGoneError:
            return
        except BatutaError as error:
            reply = error_reply(error)
        except Exception:  # noqa: BLE001 - as the next line says
            # The one place where a bug of ours becomes an answer.
            _log.exception("%s %s failed", scope["method"], scope["path"])
            reply = _error_body(500, "INTERNAL", _BUG)
        await _send(send, reply)

    return app


class Router:
    """Finds the row of the route table for a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._exact = {(row.method, row.path): row for row in routes if "{" not in row.path}
        self._hot = {
            (row.method, row.path[: row.path.rindex("{")]): row
            for row in routes
            if row.is_hot and row.path.count("{") == 1 and row.path.endswith("}")
        }
        # By number of segments, literal ones first; None stands for a variable.
        self._patterns: dict[int, list[tuple[tuple[str | None, ...], Route]]] = {}
        for row in sorted(routes, key=lambda row: row.path.count("{")):
            parts = row.path.split("/")
            pattern = tuple(None if part.startswith("{") else part for part in parts)
            self._patterns.setdefault(len(parts), []).append((pattern, row))

    def find(self, request: Request) -> Route:
        """Return the row of a request, whose path variables it fills in.

        Raises:
            HttpError: 404, no such path; 405, the path has other methods (gotchas.md 9).
            InvalidError: The path holds what is not UTF-8.
        """
        scope = request.scope
        method, path = scope["method"], scope["path"]
        request.routes = self._routes
        if b"%" not in scope.get("raw_path", b""):
            if (row := self._exact.get((method, path))) is not None:
                return row
            cut = path.rfind("/") + 1
            size = len(path) - cut
            row = self._hot.get((method, path[:cut]))
            if row is not None and 0 < size <= PLACE_CHARACTERS_MAX:
                request.values = (path[cut:],)
                return row
            return self._search(request, method, path.split("/"))
        raw: str = scope["raw_path"].decode("latin-1")
        return self._search(request, method, [unquote_text(part) for part in raw.split("/")])

    def _search(self, request: Request, method: str, segments: list[str]) -> Route:
        wanted = "GET" if method == "HEAD" else method
        allowed: list[str] = []
        for pattern, row in self._patterns.get(len(segments), ()):
            pairs = zip(pattern, segments, strict=True)
            if not all(part == segment or (part is None and segment) for part, segment in pairs):
                continue
            # HEAD must not take a task from its queue.
            if row.method == wanted and not (row.is_hot and method == "HEAD"):
                pairs = zip(pattern, segments, strict=True)
                request.values = tuple(segment for part, segment in pairs if part is None)
                _check_places(row, request.values)
                return row
            allowed.append(row.method)
        where = "/".join(segments)[:VALUE_CHARACTERS_MAX]
        if not allowed:
            raise HttpError(404, "NO_SUCH_PATH", f"there is nothing at {where!r}; see /docs")
        words = ", ".join(dict.fromkeys(allowed))
        raise HttpError(
            405,
            "WRONG_METHOD",
            f"{method} is not possible at {where!r}; use {words}",
            ((b"allow", words.encode()),),
        )


def _check_places(row: Route, values: Sequence[str]) -> None:
    if all(len(value) <= PLACE_CHARACTERS_MAX for value in values):
        return
    names = [part[1:-1] for part in row.path.split("/") if part.startswith("{")]
    message = f"longer than {PLACE_CHARACTERS_MAX} characters; no id or name is"
    faults = [
        Fault(name, message, value)
        for name, value in zip(names, values, strict=True)
        if len(value) > PLACE_CHARACTERS_MAX
    ]
    raise InvalidError(f"{faults[0].path}: {message}", faults)


class _Door:
    """Keeps out what a web page on another site could send (RELIABILITY S3).

    A name that resolves to this machine but is not ours is refused by its Host; a page of
    another site by its Origin or Sec-Fetch-Site. Clients that are no browsers send neither.
    """

    def __init__(self, allowed_hosts: Sequence[str], body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._names = {name.lower() for name in (*LOCAL_HOSTS, *allowed_hosts)}
        self._known: set[bytes] = set()

    def check(self, scope: Message) -> None:
        """Refuse a request that is not meant for us.

        Raises:
            HttpError: 403, wrong Host, or another site's page; 413, a body that is said to be
                too large; 415, a page sends no JSON.
        """
        host = origin = site = media = b""
        for name, value in scope["headers"]:
            if name == b"host":
                if host:
                    raise HttpError(400, "TWO_HOSTS", "send one Host header, not two")
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"content-type":
                media = value
            elif name == b"content-length" and value.isdigit():
                # Before a byte of it is read; what comes without a length is counted.
                check_size(int(value[:LENGTH_DIGITS_MAX]), self._body_bytes_max)
        if host not in self._known:
            self._check_host(host)
        if origin or site:
            _check_page(scope, host, origin, site, media)

    def _check_host(self, host: bytes) -> None:
        text = host.decode("latin-1").lower()
        name = text[: text.index("]") + 1] if "]" in text else text.partition(":")[0]
        if name.removesuffix(".") not in self._names:
            raise HttpError(
                403,
                "WRONG_HOST",
                f"this server does not answer to host {text[:VALUE_CHARACTERS_MAX]!r}; "
                "add it to BATUTA_ALLOWED_HOSTS",
            )
        if len(self._known) < HOSTS_KNOWN_MAX:
            self._known.add(host)


def _check_page(scope: Message, host: bytes, origin: bytes, site: bytes, media: bytes) -> None:
    """Refuse what a page of another site has sent; a link to one of our pages is welcome."""
    if not scope["path"].startswith("/api/"):
        return
    is_foreign = bool(origin) and origin.partition(b"://")[2] != host
    # Reading counts too: a poll takes tasks, and the URL of an image may be a poll.
    if is_foreign or site in {b"cross-site", b"same-site"}:
        raise HttpError(403, "FOREIGN_PAGE", "a page of another site may not use this server's API")
    if origin and media and not media.startswith(b"application/json"):
        raise HttpError(415, "NOT_JSON", "a page must send application/json")


def error_reply(error: BatutaError) -> Reply:
    """Answer an error in Conductor's body; the only place where one gets its status."""
    if isinstance(error, HttpError):
        return _error_body(error.status, error.code, error.message, headers=error.headers)
    status = next((status for kind, status in ERRORS if isinstance(error, kind)), 500)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, BusyError):
        seconds = -(-error.retry_after_ms // 1_000)
        headers = ((b"retry-after", str(seconds).encode()),)
    faults = error.faults if isinstance(error, InvalidError) else ()
    return _error_body(
        status,
        error.code,
        error.message,
        is_retryable=error.is_retryable,
        faults=faults,
        headers=headers,
    )


def _error_body(
    status: int,
    code: str,
    message: str,
    *,
    is_retryable: bool = False,
    faults: Sequence[Fault] = (),
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    body = ErrorBody(
        status=status,
        message=message,
        retryable=is_retryable,
        code=code,
        # Conductor leaves the instance out where fields are wrong (semantics 0).
        instance=None if faults else _HOSTNAME,
        validation_errors=[_fault_body(fault) for fault in faults] or None,
    )
    return msgspec.structs.replace(json_reply(body, status), headers=headers)


def _fault_body(fault: Fault) -> FaultBody:
    value = fault.value
    if isinstance(value, str):
        value = value[:VALUE_CHARACTERS_MAX]
    elif not isinstance(value, int | float | bool):
        value = None
    return FaultBody(fault.path, fault.message, value)


async def _send(send: Send, reply: Reply) -> None:
    headers: list[tuple[bytes, bytes]] = []
    if reply.status != 204:  # which has neither body nor length
        headers.append((b"content-length", str(len(reply.body)).encode()))
    if reply.media is not None:
        headers.append((b"content-type", reply.media))
        headers.append(_NOSNIFF)
    headers.extend(reply.headers)
    start = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})


async def _answer_other(scope: Message, receive: Receive, send: Send) -> None:
    """Take the server's start and stop; refuse a WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
