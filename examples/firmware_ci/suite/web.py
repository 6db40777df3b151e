"""The few HTTP calls of the workers, with a limit on time and size."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

ANSWER_S = 5.0
BYTES_MAX = 4_000_000  # of an answer that is JSON


class UnreachableError(OSError):
    """Nobody answers, or not as agreed."""


def ask(
    url: str,
    body: Any = None,
    *,
    answer_s: float = ANSWER_S,
    bytes_max: int = BYTES_MAX,
) -> tuple[int, bytes]:
    """GET a URL, or POST a JSON body to it; give the status and what was answered.

    Raises:
        UnreachableError: No connection, no answer in time, or one over ``bytes_max``.
        ValueError: It is no http:// or https:// URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is no http:// or https:// URL")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=answer_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if content is not None else {}
    try:
        connection.request("GET" if content is None else "POST", path, content, headers)
        answer = connection.getresponse()
        read = answer.read(bytes_max + 1)
    except (OSError, http.client.HTTPException) as error:
        said = str(error) or type(error).__name__
        raise UnreachableError(f"{url} does not answer: {said}") from error
    finally:
        connection.close()
    if len(read) > bytes_max:
        raise UnreachableError(f"{url} answers more than {bytes_max} bytes")
    return answer.status, read


def ask_json(url: str, body: Any = None, *, answer_s: float = ANSWER_S) -> Any:
    """Ask for a JSON document.

    Raises:
        UnreachableError: As ``ask``; or the answer is an error, or no JSON.
    """
    status, content = ask(url, body, answer_s=answer_s)
    if status >= 300:
        text = content[:200].decode("utf-8", "replace")
        raise UnreachableError(f"{url} answers {status}: {text}")
    try:
        return json.loads(content) if content else None
    except ValueError as error:
        raise UnreachableError(f"{url} answers what is no JSON: {error}") from error
