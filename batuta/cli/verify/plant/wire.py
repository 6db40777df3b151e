"""One HTTP request, with whatever headers, and its answer as it came."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from batuta.cli.checklist.item import CheckError

ANSWER_S = 10.0


def fetch(
    url: str, body: str | bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """GET a URL, or POST a body to it; give status and content.

    Raises:
        CheckError: Nobody answers.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
    content = body.encode() if isinstance(body, str) else body
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    given = {"Content-Type": "application/json"} if content is not None else {}
    try:
        method = "GET" if content is None else "POST"
        connection.request(method, path, content, {**given, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise CheckError(f"{url} does not answer: {error!r}") from error
    finally:
        connection.close()
