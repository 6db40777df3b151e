"""A server of our own that HTTP tasks call: answers of every kind, and what was asked of it."""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

BIG_BYTES = 8_000_001  # one more than an answer may have
PACKED = gzip.compress(b'{"packed":true}')
BOMB = gzip.compress(b"0" * 100_000_000)  # 100 kB that become 100 MB


class Target:
    """What the server was asked, oldest first; ``never`` holds requests that get no answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = int(url.rsplit(":", 1)[1])
        self.seen: list[dict[str, Any]] = []

    @property
    def paths(self) -> list[str]:
        """The paths asked for."""
        return [request["path"] for request in self.seen]


def _answer(request: web.Request, seen: dict[str, Any]) -> web.StreamResponse:
    match request.match_info["what"]:
        case "json":
            return web.Response(body=b'{"n": 1, "big": 12345678901234567890, "x": 1.0, "t": true}')
        case "text":
            return web.Response(text="caf\u00e9", charset="latin-1")
        case "binary":
            return web.Response(body=b"\x89PNG\x00\xff", content_type="image/png")
        case "empty":
            return web.Response(status=204, reason="Nothing To Say")
        case "headers":
            answer = web.Response(text="ok")
            answer.headers.add("X-One", "1")
            answer.headers.add("Set-Cookie", "a=1")
            answer.headers.add("Set-Cookie", "b=2")
            return answer
        case "gzip":
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            return web.Response(body=PACKED, headers=headers)
        case "bomb":
            return web.Response(body=BOMB, headers={"Content-Encoding": "gzip"})
        case "big":
            return web.Response(body=b"x" * BIG_BYTES)
        case "largest":
            return web.Response(body=b"x" * (BIG_BYTES - 1))
        case "loop":
            return web.Response(status=302, headers={"Location": "/loop"})
        case "echo":
            return web.json_response(seen)
    status, _, location = request.match_info["what"].partition("-")
    headers = {"Location": request.query["to"]} if "to" in request.query else {}
    body = location or '{"error": "as asked"}'
    return web.Response(status=int(status), text=body, headers=headers)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Target]:
    """Serve on a free port of 127.0.0.1."""
    target: Target

    async def answer(request: web.Request) -> web.StreamResponse:
        seen = {
            "method": request.method,
            "path": request.path,
            "headers": {name.lower(): request.headers.getall(name) for name in request.headers},
            "body": await request.text(),
        }
        target.seen.append(seen)
        return _answer(request, seen)

    application = web.Application()
    application.router.add_route("*", "/{what}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target = Target(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield target
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _listening(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Answer each request by hand; whoever still waits at the end is hung up on."""
    answering: set[asyncio.Task[Any]] = set()

    async def on_connection(reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection has a task"
        answering.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await reader.readuntil(b"\r\n\r\n")
                await answer(out)
            finally:
                out.close()
                await out.wait_closed()

    listener = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}"
    finally:
        listener.close()
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        await listener.wait_closed()


@contextlib.asynccontextmanager
async def raw(answer: bytes | None) -> AsyncIterator[str]:
    """Serve one answer byte for byte, then hang up; None never answers at all."""

    async def say(out: asyncio.StreamWriter) -> None:
        if answer is None:
            await asyncio.Event().wait()
        else:
            out.write(answer)
            await out.drain()

    async with _listening(say) as url:
        yield url


class Slow:
    """Answers no request until ``is_open`` is set."""

    def __init__(self) -> None:
        self.count = 0
        self.is_open = asyncio.Event()

    async def answer(self, out: asyncio.StreamWriter) -> None:
        """Count the request, and answer in time."""
        self.count += 1
        await self.is_open.wait()
        out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await out.drain()

    async def until(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(20):
            while True:
                if self.count >= count:
                    return
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def slow(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Slow, str]]:
    """Serve slowly, by TLS when a context is given."""
    answering = Slow()
    async with _listening(answering.answer, context) as url:
        yield answering, url


@contextlib.asynccontextmanager
async def trickle() -> AsyncIterator[str]:
    """Serve a body that never ends, a byte now and then."""

    async def say(out: asyncio.StreamWriter) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            out.write(b"x")
            await out.drain()
            await asyncio.sleep(0.02)

    async with _listening(say) as url:
        yield url
