"""A proxy between a client and the server that does to single requests what networks do.

It reads whole requests and whole answers (HTTP/1.1, by length or in chunks), asks its plan what
becomes of each, and keeps a ledger of what passed. It has a loop on a thread of its own, because
the SDK blocks the thread of the test.
"""

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

STOP_LIMIT_S = 5.0
DELAY_S = 0.3
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_NO_BODY = {204, 304}


class Fate(Enum):
    """What becomes of a request or of its answer."""

    PASS = "pass"
    DROP = "drop"  # the server has done it, and the client reads the end of the stream
    RESET = "reset"  # as DROP, but the client reads a reset
    LOSE = "lose"  # it never reaches the server; the client reads a reset
    CUT = "cut"  # half of the answer, then the end of the stream
    DELAY = "delay"
    TWICE = "twice"  # it reaches the server twice; the client reads the second answer
    UNKNOWN = "unknown"  # the answer is 404, as of a server without this path


@dataclass(frozen=True)
class Exchange:
    """A request, with its answer once there is one."""

    method: str
    path: str
    query: str
    body: bytes
    nth: int  # how often this very request was seen, from 1
    status: int = 0  # 0: no answer yet
    answer: bytes = b""

    @property
    def is_poll(self) -> bool:
        return self.path.startswith("/api/tasks/poll/")


def everything_passes(_: Exchange) -> Fate:
    """Be no more than a wire."""
    return Fate.PASS


def first_answer_is_lost(exchange: Exchange) -> Fate:
    """Cut off the first answer to each distinct request; the same request later is answered.

    A poll without tasks is not worth losing. All polls of a worker are the same request, so of
    those with tasks it is the first answer that is lost.
    """
    if exchange.status == 0 or exchange.nth > 1:
        return Fate.PASS
    return Fate.DROP


class Proxy:
    """Listen on a free port and pass on to the server, as the plan says.

    The plan is asked twice of each exchange: before it is sent on (`status` 0), and, unless it
    said what hinders that, with the answer.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._seen: Counter[tuple[str, str, bytes]] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.plan: Callable[[Exchange], Fate] = everything_passes
        self.ledger: list[tuple[Exchange, Fate]] = []
        self.unanswered = 0  # requests that wait for the server now
        self.port = 0

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_LIMIT_S)
        assert not self._thread.is_alive(), "the proxy's loop ends"
        self._loop.close()

    def suffered(self, fate: Fate, path: str) -> list[Exchange]:
        """Give the exchanges of a path that met with a fate."""
        return [e for e, met in self.ledger if met is fate and e.path.startswith(path)]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_LIMIT_S)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._listener is not None, "the proxy was started"
        self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two ends has gone; the other must notice
        except asyncio.CancelledError:
            pass  # the proxy stops
        finally:
            self._connections.discard(task)
            await _close(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Handle one request; say whether the connection goes on."""
        message = await _read_message(reader)
        self.unanswered += 1
        try:
            return await self._handle(message, writer)
        finally:
            self.unanswered -= 1

    async def _handle(self, message: "Message", writer: asyncio.StreamWriter) -> bool:
        exchange = self._recognise(message)
        fate = self.plan(exchange)
        if fate is Fate.UNKNOWN:
            self.ledger.append((exchange, fate))
            return await _write(writer, _not_found())
        if fate is Fate.LOSE:
            self.ledger.append((exchange, fate))
            return _reset(writer)
        for _ in range(2 if fate is Fate.TWICE else 1):
            answer = await self._forward(message.raw)
        exchange = replace(exchange, status=answer.status, answer=answer.body)
        if fate is Fate.PASS:
            fate = self.plan(exchange)
        self.ledger.append((exchange, fate))
        match fate:
            case Fate.DROP:
                return False
            case Fate.RESET:
                return _reset(writer)
            case Fate.CUT:
                await _write(writer, answer.raw[: -max(len(answer.body) // 2, 1)])
                return False
            case Fate.DELAY:
                await asyncio.sleep(DELAY_S)
        return await _write(writer, answer.raw)

    def _recognise(self, message: "Message") -> Exchange:
        method, target = message.first_line.split(" ")[:2]
        key = (method, target, message.body)
        self._seen[key] += 1
        url = urlsplit(target)
        return Exchange(method, url.path, url.query, message.body, self._seen[key])

    async def _forward(self, request: bytes) -> "Message":
        """Send a request on a connection of its own; give the whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            writer.write(request)
            await writer.drain()
            return await _read_message(reader)
        finally:
            await _close(writer)


@dataclass(frozen=True)
class Message:
    """A request or an answer, as it went over the wire and with its body made whole."""

    raw: bytes
    body: bytes

    @property
    def first_line(self) -> str:
        return self.raw.split(b"\r\n", 1)[0].decode()

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ", 2)[1])


async def _read_message(reader: asyncio.StreamReader) -> Message:
    head = await reader.readuntil(b"\r\n\r\n")
    if _CHUNKED.search(head):
        raw, body = await _read_chunks(reader)
        return Message(head + raw, body)
    found = _LENGTH.search(head)
    body = await reader.readexactly(int(found.group(1))) if found else b""
    return Message(head + body, body)


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read a body in chunks without trailers, as Node sends it; give it raw and whole."""
    raw, body = b"", b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size, 16) + 2)
        raw, body = raw + size + chunk, body + chunk[:-2]
        if len(chunk) == 2:
            return raw, body


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):  # it may have been reset
        await writer.wait_closed()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> bool:
    writer.write(data)
    await writer.drain()
    return True


def _reset(writer: asyncio.StreamWriter) -> bool:
    with contextlib.suppress(OSError):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


def _not_found() -> bytes:
    body = b'{"status":404,"message":"no such path"}'
    head = (
        f"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body
