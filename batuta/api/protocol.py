"""uvicorn's HTTP protocol, writing each answer at once.

uvicorn writes the headers and then the body, and uvloop sends each write when it comes: two
system calls and two segments for an answer, and a client that delays its acknowledgements
stalls between them for 40 ms (clients.md 1.4). Here what is written in one turn of the event
loop leaves together at the turn's end; tests/api/test_socket.py counts the segments.
"""

import asyncio
from types import MethodType
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from batuta.api.dispatch.whole import AT_ONCE
from batuta.api.request import Send

HEAD_WAIT_S = 75  # for a request's head, as between requests; uvicorn would wait for ever
HEAD_BYTES_MAX = 65_536  # of a head that comes in pieces; uvicorn would keep any amount


class OneWriteProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`: httptools, with answers in one piece.

    A client that does not come to the end of a request's head is cut off. What watches it costs
    the requests that come in one piece a comparison.
    """

    _head_until = 0.0  # loop time; 0 while no head is under way
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, whose writes are gathered."""
        self._gathering = _Gathering(transport, asyncio.get_running_loop())
        super().connection_made(cast("asyncio.Transport", self._gathering))
        if not self.access_log and not self.server_state.default_headers:
            self.app_state = {**self.app_state, AT_ONCE: self._answer}
        # uvicorn's own timer between requests: it ends with the first byte.
        self.timeout_keep_alive_task = self.loop.call_later(
            HEAD_WAIT_S, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection; what named it is let go, so that it needs no garbage collector."""
        super().connection_lost(exc)
        self.app_state = {}

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head that is not yet whole are counted and timed."""
        super().data_received(data)
        if getattr(self.cycle, "scope", None) is not self.scope and not self.pipeline:
            self._wait_for_head(len(data))
        elif self._head_until:
            self._head_until, self._head_bytes = 0.0, 0

    def _answer(self, send: Send, status: int, head: bytes, body: bytes) -> bool:
        """Send a whole answer as uvicorn's cycle would by two messages; see `dispatch.whole`."""
        cycle = cast("RequestResponseCycle", cast("MethodType", send).__self__)
        if self.flow.write_paused or cycle.response_started or cycle.scope["method"] == "HEAD":
            return False
        if cycle.disconnected:
            return True
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self._gathering.write_whole(b"".join((STATUS_LINE[status], head, end, body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _wait_for_head(self, size_bytes: int) -> None:
        if self.transport.is_closing():
            return
        if self._head_until:
            self._head_bytes += size_bytes
        else:
            self._head_until = self.loop.time() + HEAD_WAIT_S
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response(f"The head of a request may have {HEAD_BYTES_MAX} bytes.")
        else:
            self.timeout_keep_alive_task = self.loop.call_at(
                self._head_until, self.timeout_keep_alive_handler
            )


class _Gathering:
    """A transport that writes once a turn; everything else goes to the real one."""

    __slots__ = ("_loop", "_parts", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write at the end of this turn, in order."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def write_whole(self, data: bytes) -> None:
        """Write what is in one piece already, after what is gathered."""
        if self._parts:
            self._parts.append(data)
        elif not self.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Write what is gathered, and close when it has been sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
