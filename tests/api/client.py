"""A client that drives the real ASGI application in memory, message by message."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Answer(msgspec.Struct, frozen=True):
    """What came back; ``bodies`` counts the messages that carried the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    bodies: int

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """Sends requests; by default with a Host of this machine and without a content type."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def call(
        self,
        line: str,
        body: Any = None,
        *,
        raw: bytes | Sequence[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        gone: asyncio.Event | None = None,
        until: bytes | None = None,
        port: int = 8080,
    ) -> Answer | None:
        """Send a request and return its answer, None when there was none.

        Args:
            line: As in a log: "GET /path?query".
            body: Sent as JSON; ``raw`` as it is, a sequence as chunks.
            gone: The client hangs up when it is set.
            until: The client hangs up when a piece of the answer's body has this.
            port: Of the server, as the request came in.
        """
        method, target = line.split(" ", 1)
        path, _, query = target.partition("?")
        chunks = [b"" if body is None else json.dumps(body).encode()]
        if raw is not None:
            chunks = [raw] if isinstance(raw, bytes) else list(raw)
        given = {"host": "localhost:8080", **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "server": ("127.0.0.1", port),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items()],
        }
        sent: list[dict[str, Any]] = []
        gone = gone or asyncio.Event()

        async def receive() -> dict[str, Any]:
            if chunks:
                chunk = chunks.pop(0)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if until is not None and until in message.get("body", b""):
                gone.set()

        await self._app(scope, receive, send)
        return _answer(sent)

    async def ask(self, line: str, body: Any = None, **options: Any) -> Answer:
        """Send a request that is answered."""
        answer = await self.call(line, body, **options)
        assert answer is not None, f"{line} got no answer"
        return answer


def _answer(sent: list[dict[str, Any]]) -> Answer | None:
    if not sent:
        return None
    start, *rest = sent
    assert start["type"] == "http.response.start"
    names = [name.decode() for name, _ in start["headers"]]
    assert len(set(names)) == len(names), "no header is given twice"
    return Answer(
        status=start["status"],
        headers={name.decode(): value.decode() for name, value in start["headers"]},
        body=b"".join(message.get("body", b"") for message in rest),
        bodies=len(rest),
    )
