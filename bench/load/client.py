"""A lean HTTP/1.1 client: one connection, one request at a time, no pool.

The load must not cost more than what it measures: a general client took 60 to 400 us a request
on the measuring machine, this one about 15.
"""

import asyncio
from typing import Any, cast

import httptools


class Connection(asyncio.Protocol):
    """A kept-alive connection; ``request`` returns (status, body)."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.fields = ""  # further header lines of each request, each with its end

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connect."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cls, host, port)
        assert isinstance(protocol, cls)
        return protocol

    @property
    def is_open(self) -> bool:
        """False once either side has closed."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body += body

    def on_message_complete(self) -> None:
        """See httptools."""
        body, self._body = self._body, b""
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request and return its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self.fields}"
        if body or method == "POST":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._transport.write(head.encode() + b"\r\n" + body)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def expect(connection: Connection, method: str, path: str, body: bytes = b"") -> Any:
    """Send a request and return its body; anything but a 2xx ends the measurement."""
    status, answer = await connection.request(method, path, body)
    if not 200 <= status < 300:
        raise RuntimeError(f"{method} {path} answered {status}: {answer[:200]!r}")
    return answer
