"""One HTTP request and its answer, as handlers see them; a row of the route table.

What official clients put into a query string is odd: `True` and `true`, empty values, and the
text `None` for what was not set. Reading it is here. Source: clients.md 1.4.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, unquote_plus

import msgspec

from batuta.model.error import BatutaError, Fault, InvalidError

if TYPE_CHECKING:
    from batuta.runtime.engine import Engine

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Text = str | int | float | bool | None

QUERY_CHARACTERS_MAX = 16_384  # of a query string; the HTTP server cuts off at 64 kB anyway
BODY_WAIT_S = 120  # for a whole body; the largest by default needs 70 kB/s then
PLACE_CHARACTERS_MAX = 1_000  # of an id or a name in a path; four times Conductor's columns
PARAMETERS_MAX = 1_000  # of a query string; each costs a decode

_ABSENT = frozenset({"", "None", "null", "undefined"})
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class HttpError(BatutaError):
    """A refusal for which only HTTP has a word: no such path, wrong method, too large."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class ClientGoneError(BatutaError):
    """The client has hung up; there is nobody to answer."""

    code = "CLIENT_GONE"


class Reply(msgspec.Struct, frozen=True):
    """An answer; without ``media`` it has no content type, as Conductor's void answers.

    One with ``chunks`` is sent piece by piece, as they come, instead of ``body``.
    """

    status: int
    body: bytes = b""
    media: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    chunks: AsyncGenerator[bytes, None] | None = None


class FaultBody(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One wrong field. Source: conductor ValidationError."""

    path: str
    message: str
    invalid_value: Text = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The body of every error; the JavaScript SDK needs status and message (clients.md 1.3)."""

    status: int
    message: str
    retryable: bool
    code: str
    """A word that stays when the message is reworded; Conductor never sets it."""
    instance: str | None = None
    validation_errors: list[FaultBody] | None = None


EMPTY = Reply(200)
NO_CONTENT = Reply(204)


def json_reply(value: Any, status: int = 200) -> Reply:
    """Answer with a JSON document; parts of it may be ``msgspec.Raw``."""
    return Reply(status, msgspec.json.encode(value), b"application/json")


def text_reply(text: str) -> Reply:
    """Answer with an id as it is, never quoted: the Java SDK keeps the quotes (gotchas.md 4)."""
    return Reply(200, text.encode(), b"text/plain")


class Settings(Protocol):
    """What the wire must be told; `batuta.config.Settings` has it."""

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Host names that requests may be sent to, besides those of this machine."""

    @property
    def body_bytes_max(self) -> int:
        """The largest request body."""

    @property
    def strict(self) -> bool:
        """Refuse every definition that Conductor refuses."""


class Request:
    """A request that has been matched: ``values`` are the variables of its path."""

    __slots__ = ("_query", "engine", "receive", "routes", "scope", "settings", "values")

    def __init__(
        self, engine: "Engine", settings: Settings, scope: Message, receive: Receive
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.scope = scope
        self.receive = receive
        self.values: tuple[str, ...] = ()
        self.routes: tuple[Route, ...] = ()
        self._query: dict[str, list[str]] | None = None

    @property
    def query(self) -> dict[str, list[str]]:
        """The query parameters, decoded at the first look."""
        if self._query is None:
            self._query = parse_query(self.scope["query_string"])
        return self._query

    def text(self, name: str) -> str | None:
        """Return a query parameter, or None when it is absent, empty or the text `None`."""
        given = self.query.get(name)
        return None if given is None or given[0] in _ABSENT else given[0]

    def integer(self, name: str, default: int) -> int:
        """Return a whole number from the query.

        Raises:
            InvalidError: It is something else; the parameter is named.
        """
        given = self.text(name)
        return default if given is None else to_integer(name, given)

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return a boolean from the query: `True` and `true` alike.

        Raises:
            InvalidError: It is something else; the parameter is named.
        """
        given = self.text(name)
        if given is None:
            return default
        value = _BOOLEANS.get(given.lower())
        if value is None:
            raise _refusal(name, f"expected true or false, got {given[:40]!r}", given)
        return value


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter, for the OpenAPI document; handlers read and check it."""

    name: str
    kind: type
    default: Any = None
    note: str = ""
    is_required: bool = False


class EventStream:
    """The type of an answer of server-sent events, which goes on until somebody hangs up."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the route table; it drives matching, 404 and 405, OpenAPI and the docs.

    ``request``: what the body is decoded into; None: the body is ignored. ``answer``: the
    type of a JSON answer, ``str`` for plain text, ``EventStream``, None for an empty one.
    ``is_hot``: found by one look-up of its path up to the last segment, before the others.
    """

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Reply]]
    summary: str
    group: str = ""
    request: Any = None
    answer: Any = None
    status: int = 200
    also: tuple[int, ...] = ()
    query: tuple[Parameter, ...] = ()
    is_hot: bool = False


async def read_body(request: Request, bytes_max: int = 0) -> bytes:
    """Read the whole body, chunked or not, with or without a content type.

    Args:
        bytes_max: Of the body; 0 is `body_bytes_max`.

    Raises:
        HttpError: 413, the body is larger than allowed; 408, it did not come in time.
        ClientGoneError: The client hung up in between.
    """
    bytes_max = bytes_max or request.settings.body_bytes_max
    message = ready(request.receive)
    if message is None or message.get("more_body", False):
        return await _gather(request, message, bytes_max)
    body = _chunk(message)
    check_size(len(body), bytes_max)
    return body


def ready(receive: Receive) -> Message | None:
    """Return the client's next message if it is here, without waiting and without a task."""
    step = receive().__await__()
    try:
        next(step)
    except StopIteration as done:
        message: Message = done.value
        return message
    step.close()
    return None


async def _gather(request: Request, message: Message | None, bytes_max: int) -> bytes:
    """Read a body that comes in pieces, as long as it comes."""
    chunks: list[bytes] = []
    size_bytes = 0
    is_whole = False
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            while not is_whole:
                message = message or await request.receive()
                chunks.append(_chunk(message))
                size_bytes += len(chunks[-1])
                check_size(size_bytes, bytes_max)
                is_whole = not message.get("more_body", False)
                message = None
    except TimeoutError as error:
        raise HttpError(
            408,
            "TOO_SLOW",
            f"the body was not here after {BODY_WAIT_S} s; send it faster, or less of it",
            ((b"connection", b"close"),),
        ) from error
    return b"".join(chunks)


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGoneError("the client hung up before its body was here")
    chunk: bytes = message.get("body", b"")
    return chunk


def parse_query(query_string: bytes) -> dict[str, list[str]]:
    """Decode a query string; a parameter may be repeated, and the first value counts.

    Raises:
        InvalidError: It is too long, or holds a NUL character or text that is not UTF-8.
    """
    found: dict[str, list[str]] = {}
    if not query_string:
        return found
    pairs = query_string.split(b"&")
    if len(query_string) > QUERY_CHARACTERS_MAX or len(pairs) > PARAMETERS_MAX:
        raise InvalidError(
            f"the query string is too long; {QUERY_CHARACTERS_MAX} characters and "
            f"{PARAMETERS_MAX} parameters are allowed"
        )
    if not query_string.isascii():
        raise InvalidError("the query string holds bytes beyond ASCII; encode them with %")
    is_encoded = b"%" in query_string or b"+" in query_string
    for pair in pairs:
        name, _, value = pair.decode("ascii").partition("=")
        if is_encoded:
            name, value = unquote_text(name, is_query=True), unquote_text(value, is_query=True)
        found.setdefault(name, []).append(value)
    return found


def unquote_text(text: str, *, is_query: bool = False) -> str:
    """Decode percent signs strictly: what is not UTF-8, and NUL, is refused.

    Raises:
        InvalidError: As said.
    """
    try:
        decoded = (unquote_plus if is_query else unquote)(text, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidError(f"{text[:80]!r} in the URL is not UTF-8") from error
    if "\0" in decoded:
        raise InvalidError(f"{text[:80]!r} in the URL holds a NUL character; remove it")
    return decoded


def to_integer(name: str, text: str) -> int:
    """Return a whole number within Conductor's int.

    Raises:
        InvalidError: It is something else; ``name`` is named.
    """
    try:
        value = int(text) if len(text) <= 20 else None
    except ValueError:
        value = None
    if value is None or not -(2**31) <= value < 2**31:
        raise _refusal(name, f"expected a whole number, got {text[:40]!r}", text)
    return value


def check_size(size_bytes: int, bytes_max: int) -> None:
    """Refuse a body that is larger, or is said to be.

    Raises:
        HttpError: 413.
    """
    if size_bytes > bytes_max:
        raise HttpError(
            413,
            "TOO_LARGE",
            f"the body is larger than {bytes_max} bytes; upload the payload by itself "
            "(GET /api/tasks/externalstoragelocation) and name its path, or raise the limit "
            "(BATUTA_BODY_BYTES_MAX, BATUTA_UPLOAD_BYTES_MAX)",
        )


def _refusal(name: str, message: str, value: str) -> InvalidError:
    return InvalidError(f"{name}: {message}", [Fault(name, message, value)])
