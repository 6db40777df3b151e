"""The ASGI application: the door, the dispatch, and the one table of errors.

A request goes: Host and Origin are checked, the route is found, its handler runs, and whatever
it raises becomes Conductor's error body here and nowhere else. The answer's body is sent as
one message with its length, so that it leaves in one piece with the headers: a client with
Nagle's counterpart on its side would stall for 40 ms otherwise (clients.md 1.4).
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from batuta.api.dispatch.mount import Mount, Mounts, PassOnError
from batuta.api.dispatch.page import API, Origins, answer_preflight, check_page, shown_to
from batuta.api.dispatch.router import VALUE_CHARACTERS_MAX, Router
from batuta.api.dispatch.whole import send_at_once, send_by_messages
from batuta.api.external.location import UPLOADS_PATH
from batuta.api.request import (
    ClientGoneError,
    ErrorBody,
    FaultBody,
    HttpError,
    Message,
    Receive,
    Reply,
    Request,
    Send,
    Settings,
    check_size,
    json_reply,
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
    UnreadableError,
)

if TYPE_CHECKING:
    from batuta.runtime.engine import Engine

App = Callable[[Message, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
HOSTS_KNOWN_MAX = 100  # Host headers remembered as allowed; each is one port of one name
LENGTH_DIGITS_MAX = 18  # of a declared length that are read; a longer one is too large anyway

# From the special to the general; the first that fits counts.
ERRORS: tuple[tuple[type[BatutaError], int], ...] = (
    (NotFoundError, 404),
    (InvalidError, 400),
    (ConflictError, 409),
    (DeniedError, 403),
    (ClosingError, 503),
    (BusyError, 429),
    (StoreError, 500),
    (UnreadableError, 500),
)
_BUG = "an unexpected error; the server's log has the details"
_HOSTNAME = socket.gethostname()
_log = logging.getLogger("batuta.api")


def create_app(
    engine: "Engine",
    settings: Settings,
    *,
    mounts: Sequence[Mount] = (),
    ports: Mapping[int, str] | None = None,
    origins: Origins | None = None,
) -> App:
    """Return the ASGI application that serves Conductor's REST API from an engine.

    It answers requests sent to this machine's names and to ``settings.allowed_hosts`` only.
    How it is run (uvicorn, ports, signals) is the caller's business.

    Args:
        mounts: What is served beside the API.
        ports: By port the only mount that answers there.
        origins: Whose pages may use the mounts; none by default.
    """
    router = Router(ROUTES)
    beside = Mounts(mounts, ports or {})
    door = _Door(settings.allowed_hosts, settings.body_bytes_max, engine, beside, origins)

    async def answer(request: Request) -> Reply:
        if beside.has(request.scope["path"]):
            return answer_preflight(request.scope) or await _answer_mounted(request, beside)
        return await router.find(request).handler(request)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _answer_other(scope, receive, send)
            return
        request = Request(engine, settings, scope, receive)
        welcome = b""
        try:
            welcome = door.check(scope)
            reply = await answer(request)
        except ClientGoneError:
            return
        except BatutaError as error:
            reply = error_reply(error)
        except Exception:  # noqa: BLE001 - as the next line says
            # The one place where a bug of ours becomes an answer.
            _log.exception("%s %s failed", scope["method"], scope["path"])
            reply = _error_body(500, "INTERNAL", _BUG)
        if welcome:
            reply = msgspec.structs.replace(reply, headers=(*reply.headers, *shown_to(welcome)))
        if not send_at_once(scope, send, reply):
            await send_by_messages(receive, send, reply)

    return app


async def _answer_mounted(request: Request, mounts: Mounts) -> Reply:
    """Have the first mount answer that does not pass; errors are in its words."""
    candidates = mounts.candidates(request)
    speaker = candidates[0] if len(candidates) == 1 else None
    passed: tuple[Mount, BatutaError] | None = None
    try:
        for match in mounts.find(request, candidates):
            speaker = match.mount
            request.values = match.values
            try:
                return await match.route.handler(request)
            except PassOnError as word:
                passed = passed or (match.mount, word.error)
        assert passed is not None, "there is a match, or find raises"
        speaker, error = passed
        return speaker.render(status_of(error), error)
    except ClientGoneError:
        raise
    except BatutaError as error:
        if speaker is None:
            raise
        return speaker.render(status_of(error), error)
    except Exception:
        if speaker is None:
            raise
        _log.exception("%s %s failed", request.scope["method"], request.scope["path"])
        return speaker.render(500, BatutaError(_BUG))


class _Door:
    """Keeps out what a web page on another site could send (RELIABILITY S3).

    A name that resolves to this machine but is not ours is refused by its Host; a page of
    another site by its Origin or Sec-Fetch-Site. Clients that are no browsers send neither.
    """

    def __init__(
        self,
        allowed_hosts: Sequence[str],
        body_bytes_max: int,
        engine: "Engine",
        mounts: Mounts,
        origins: Origins | None,
    ) -> None:
        self._mounts = mounts
        self._origins = origins or Origins((), is_loopback=False)
        self._body_bytes_max = body_bytes_max
        self._engine = engine
        self._names = {name.lower() for name in (*LOCAL_HOSTS, *allowed_hosts)}
        self._known: set[bytes] = set()

    def check(self, scope: Message) -> bytes:
        """Refuse a request that is not meant for us.

        Returns:
            The origin of a page of another site that is welcome; else nothing.

        Raises:
            HttpError: 403, wrong Host, or another site's page; 413, a body that is said to be
                too large; 415, a page sends no JSON.
        """
        host = origin = site = media = b""
        takes_uploads = self._mounts.takes_uploads(scope["path"])
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
            elif name == b"content-length" and value.isdigit() and not takes_uploads:
                # Before a byte of it is read; what comes without a length is counted.
                check_size(int(value[:LENGTH_DIGITS_MAX]), self._bytes_max_of(scope))
        if host not in self._known:
            self._check_host(host)
        path = scope["path"]
        is_mounted = self._mounts.has(path)
        if (origin or site) and (is_mounted or path.startswith(API)):
            is_welcome = is_mounted and bool(origin) and self._origins.allow(origin)
            check_page(
                scope, host=host, origin=origin, site=site, media=media, is_welcome=is_welcome
            )
            return origin if is_welcome else b""
        return b""

    def _bytes_max_of(self, scope: Message) -> int:
        uploads = self._engine.uploads
        if uploads is not None and scope["path"].startswith(UPLOADS_PATH):
            return uploads.bytes_max
        return self._body_bytes_max

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


def status_of(error: BatutaError) -> int:
    """Return the status of an error's answer."""
    if isinstance(error, HttpError):
        return error.status
    return next((status for kind, status in ERRORS if isinstance(error, kind)), 500)


def error_reply(error: BatutaError) -> Reply:
    """Answer an error in Conductor's body; the only place where one gets its status."""
    if isinstance(error, HttpError):
        return _error_body(error.status, error.code, error.message, headers=error.headers)
    status = status_of(error)
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
