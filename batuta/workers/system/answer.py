"""What an HTTP task's output says of the answer. Source: semantics.md c.9, gotchas.md 42.

OSS keeps the status and the body of a 2xx only, makes doubles of numbers and texts of `true`.
Here the answer is kept whatever its status, and JSON stays the JSON it was.
"""

import base64
import codecs
import http
from collections.abc import Iterable
from typing import Any

import msgspec

# Python knows codecs that are no charsets, and some that are slow on purpose (punycode).
_CHARSETS = (
    "ascii", "utf-8", "utf-16", "utf-32", "iso8859", "cp12", "cp437", "cp850", "cp866", "cp874",
    "koi8", "mac", "gb", "big5", "shift_jis", "cp932", "cp949", "euc", "iso2022_jp",
)  # fmt: skip
DEPTH_MAX = 90  # levels of a body; the task's output, of 100 levels at most, goes around it


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it came, its body decompressed."""

    status: int
    phrase: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300

    def header(self, name: str) -> str:
        """Return the first value of a header, given in lower case; "" when it is not there."""
        wanted = name.encode()
        return next((_text(value) for key, value in self.headers if key.lower() == wanted), "")


def describe(answer: Answer) -> dict[str, Any]:
    """Return the task's `response`: statusCode, reasonPhrase, headers by name, body.

    The body is JSON where it is JSON, else text; what is neither is base64, and then
    `bodyEncoding` says so. An empty body is null.
    """
    described: dict[str, Any] = {
        "statusCode": answer.status,
        "reasonPhrase": answer.phrase or _phrase(answer.status),
        "headers": _headers(answer.headers),
    }
    content_type, _, parameters = answer.header("content-type").lower().partition(";")
    text = _decoded(answer.body, parameters)
    if not answer.body:
        described["body"] = None
    elif text is None:
        described["body"] = base64.b64encode(answer.body).decode()
        described["bodyEncoding"] = "base64"
    else:
        value = _json(text, is_declared=content_type.strip().endswith(("/json", "+json")))
        described["body"] = text if value is None else value
    return described


def shown_body(answer: Answer, characters: int) -> str:
    """Return the beginning of the body as text for a message, on one line."""
    text = answer.body[: characters * 4].decode("utf-8", "replace")
    return " ".join(text.replace("\0", " ").split())[:characters]


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """Collect the values of each name; the first spelling of a name is kept."""
    names: dict[bytes, str] = {}
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        name = names.setdefault(key.lower(), _text(key))
        found.setdefault(name, []).append(_text(value))
    return found


def _text(raw: bytes) -> str:
    """Decode a header, for which HTTP names no charset; every byte is a Latin-1 character."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _decoded(body: bytes, parameters: str) -> str | None:
    """Decode a body by its charset, else UTF-8; None for what is no text."""
    given = dict(part.strip().partition("=")[::2] for part in parameters.split(";"))
    for charset in (given.get("charset", "").strip("\"' "), "utf-8-sig"):
        try:
            if codecs.lookup(charset).name.startswith(_CHARSETS):
                text = body.decode(charset)
                return None if "\0" in text else text
        except (ValueError, LookupError):
            continue
    return None


def _json(text: str, *, is_declared: bool) -> Any:
    """Return the JSON of a body as bytes to be carried; None where it is to stay a text.

    Undeclared, only objects, arrays and numbers are taken for JSON, as OSS does. What no reader
    of the run could take (NUL, half a surrogate pair, too deep, not finite) stays text.
    """
    start = text.lstrip()[:1]
    if not start or not (is_declared or start in "{[-0123456789"):
        return None
    try:
        value = msgspec.json.decode(text)
        again = msgspec.json.encode(value)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    if b"\\u0000" in again or (again.count(b"{") + again.count(b"[") > DEPTH_MAX and _deep(value)):
        return None
    # The document itself, not what we made of it, unless a key stood in it twice.
    raw = text.encode()
    return msgspec.Raw(raw if raw.count(b":") == again.count(b":") else again)


def _deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
