"""What an HTTP task's input asks for. Source: semantics.md c.9, conductor HttpTask.Input."""

import re
import urllib.parse
from typing import Any

import msgspec

from batuta.model.error import InvalidError

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
TIMEOUT_MS = 3_000  # Conductor's default for both time-outs
TIMEOUT_MS_MAX = 3_600_000  # an hour; 0, which is no limit in Conductor, means this
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

# How a request is framed is the client's to say; an author's word on it would contradict that.
FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be made."""

    method: str
    uri: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    connect_ms: int = TIMEOUT_MS
    """To resolve the name, connect and agree on TLS, for each redirect anew."""
    read_ms: int = TIMEOUT_MS
    """Between two pieces of the answer."""


def read_request(task_input: dict[str, Any]) -> HttpRequest:
    """Read the request from `http_request`, or from the input itself when there is none.

    Raises:
        InvalidError: Naming the key that cannot be used, or that is missing.
    """
    found = task_input.get("http_request")
    given = task_input if found is None else found
    if not isinstance(given, dict):
        raise InvalidError(f"http_request is {_shown(given)}; give an object with uri and method")
    uri = given.get("uri")
    if uri is None or uri == "":
        raise InvalidError("the HTTP task has no uri; say what to call")
    if not isinstance(uri, str):
        raise InvalidError(f"uri is {_shown(uri)}; give a text")
    method = given.get("method")
    if method is None or method == "":
        raise InvalidError("the HTTP task has no method; say GET, POST, ...")
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise InvalidError(f"method is {_shown(method)}; allowed is {', '.join(sorted(METHODS))}")
    content_type = _text(given, "contentType")
    headers = _headers(given.get("headers"))
    names = {name.lower() for name, _ in headers}
    written = next((value for name, value in headers if name.lower() == "content-type"), None)
    body = _body(given.get("body"), written or content_type or JSON)
    if "content-type" not in names and (content_type or body is not None):
        headers.append(("Content-Type", _value("contentType", content_type or JSON)))
    if "accept" not in names:
        headers.append(("Accept", _value("accept", _accept(given.get("accept")))))
    return HttpRequest(
        method=method.upper(),
        uri=uri.strip(),
        headers=tuple(headers),
        body=body,
        connect_ms=_timeout_ms(given, "connectionTimeOut"),
        read_ms=_timeout_ms(given, "readTimeOut"),
    )


def is_async_complete(task_input: dict[str, Any], *, otherwise: bool) -> bool:
    """Say whether a success leaves the task open; the input's word beats the definition's.

    Source: conductor WorkflowSystemTask.isAsyncComplete.
    """
    given = task_input.get("asyncComplete")
    if given is None:
        return otherwise
    return given is True or str(given).lower() == "true"


def _headers(given: Any) -> list[tuple[str, str]]:
    """Read an object of texts or lists of texts; null means that the header is not sent."""
    if given is None:
        return []
    if not isinstance(given, dict):
        raise InvalidError(f"headers is {_shown(given)}; give an object")
    found: list[tuple[str, str]] = []
    for name, value in given.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidError(f"headers has the name {name!r}, which HTTP does not allow")
        if name.lower() in FRAMING:
            continue
        parts = value if isinstance(value, list) else (value,)
        found.extend((name, _value(f"header {name!r}", p)) for p in parts if p is not None)
    return found


def _value(where: str, given: Any) -> str:
    if isinstance(given, dict | list):
        raise InvalidError(f"{where} is {_shown(given)}; give a text")
    text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    if _CONTROL.search(text):
        raise InvalidError(f"{where} holds a line break or another control character")
    return text.strip()


def _accept(given: Any) -> str:
    if given is None or given in ("", []):
        return JSON
    if isinstance(given, list):
        return ", ".join(_value("accept", part) for part in given)
    return _value("accept", given)


def _body(given: Any, content_type: str) -> bytes | None:
    """Write the body: a text as it is, an object as a form where that is asked, else JSON."""
    if given is None:
        return None
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, dict) and content_type.partition(";")[0].strip().lower() == FORM:
        return urllib.parse.urlencode(list(_form(given))).encode()
    return msgspec.json.encode(given)


def _form(given: dict[str, Any]) -> "list[tuple[str, str]]":
    fields: list[tuple[str, str]] = []
    for name, value in given.items():
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, str):
                fields.append((name, part))
            elif part is not None:
                fields.append((name, msgspec.json.encode(part).decode()))
    return fields


def _timeout_ms(given: dict[str, Any], key: str) -> int:
    value = given.get(key)
    if value is None or value == "":
        return TIMEOUT_MS
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= TIMEOUT_MS_MAX:
        raise InvalidError(
            f"{key} is {_shown(value)}; allowed is 0 to {TIMEOUT_MS_MAX:,} milliseconds"
        )
    return int(number) or TIMEOUT_MS_MAX


def _text(given: dict[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise InvalidError(f"{key} is {_shown(value)}; give a text")


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:80]}..."
