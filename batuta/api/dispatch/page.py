"""What pages of other sites may do here: nothing with the API, and more where a setting says so."""

from collections.abc import Collection
from urllib.parse import urlsplit

from batuta.api.request import HttpError, Message, Reply

API = "/api/"
PREFLIGHT_S = 600  # for which a browser remembers what it may send
HEADERS_MAX = 1_000  # bytes of the list of headers that a page asks for
METHODS = b"GET, POST, PUT, DELETE"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Origins:
    """The origins whose pages may use what is mounted beside the API.

    Args:
        allowed: Origins such as ``https://app.example``; ``*`` is none of them, because what a
            page may do here needs no password.
        is_loopback: We listen on this machine only, so pages served from it are its user's own.
    """

    def __init__(self, allowed: Collection[str], *, is_loopback: bool) -> None:
        self._allowed = {origin.rstrip("/").lower() for origin in allowed}
        self._is_loopback = is_loopback

    def allow(self, origin: bytes) -> bool:
        """Say whether a page of this origin is welcome."""
        text = origin.decode("latin-1").lower()
        if text in self._allowed:
            return True
        try:
            parts = urlsplit(text)
            return self._is_loopback and parts.scheme in {"http", "https"} and _is_here(parts)
        except ValueError:
            return False


def _is_here(parts: object) -> bool:
    return getattr(parts, "hostname", None) in _LOOPBACK


def check_page(
    scope: Message, *, host: bytes, origin: bytes, site: bytes, media: bytes, is_welcome: bool
) -> None:
    """Refuse what a page of another site has sent; a link to one of our pages is welcome.

    Args:
        is_welcome: The path is not of the API, and the origin may use it.

    Raises:
        HttpError: 403, a page of another site; 415, a page sends the API no JSON.
    """
    is_foreign = bool(origin) and origin.partition(b"://")[2] != host
    # Reading counts too: a poll takes tasks, and the URL of an image may be a poll.
    if (is_foreign or site in {b"cross-site", b"same-site"}) and not is_welcome:
        message = "a page of another site may not use this server's API"
        if not scope["path"].startswith(API):
            message = "a page of this origin may not use this server; see BATUTA_CORS_ORIGINS"
        raise HttpError(403, "FOREIGN_PAGE", message)
    is_api = scope["path"].startswith(API)
    if is_api and origin and media and not media.startswith(b"application/json"):
        raise HttpError(415, "NOT_JSON", "a page must send application/json")


def answer_preflight(scope: Message) -> Reply | None:
    """Answer a browser that asks what a page may send; None when it does not ask that."""
    headers = dict(scope["headers"])
    if scope["method"] != "OPTIONS" or b"access-control-request-method" not in headers:
        return None
    wanted = headers.get(b"access-control-request-headers", b"")[:HEADERS_MAX]
    return Reply(
        204,
        headers=(
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", wanted or b"content-type"),
            (b"access-control-max-age", str(PREFLIGHT_S).encode()),
        ),
    )


def shown_to(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers by which a browser shows an answer to a page of this origin."""
    return ((b"access-control-allow-origin", origin), (b"vary", b"Origin"))
