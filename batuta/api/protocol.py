"""uvicorn's HTTP protocol, writing each answer at once.

uvicorn writes the headers and then the body, and uvloop sends each write when it comes: two
system calls and two segments for an answer, and a client that delays its acknowledgements
stalls between them for 40 ms (clients.md 1.4). Here what is written in one turn of the event
loop leaves together at the turn's end; tests/api/test_socket.py counts the segments.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`: httptools, with answers in one piece."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, whose writes are gathered."""
        gathering = _Gathering(transport, asyncio.get_running_loop())
        super().connection_made(cast("asyncio.Transport", gathering))


class _Gathering:
    """A transport that writes once a turn; everything else goes to the real one."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write at the end of this turn, in order."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Write what is gathered, and close when it has been sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
