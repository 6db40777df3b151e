"""Answers that are sent piece by piece: event streams, files."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from batuta.api.request import Receive, Reply, Send

NOSNIFF = (b"x-content-type-options", b"nosniff")
SLOW_READER_S = 30.0  # in which a client must make room for one piece

_log = logging.getLogger("batuta.api")


async def stream(receive: Receive, send: Send, reply: Reply) -> None:
    """Send an answer until it ends, the client goes, or it reads too slowly; then close it.

    Whatever the pieces come from is closed too, wherever it is.
    """
    chunks = reply.chunks
    assert chunks is not None, "an answer in pieces"
    fields = list(reply.headers)
    if reply.media is not None:
        fields += [(b"content-type", reply.media), NOSNIFF]
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": fields})
        while chunk := await _next(chunks, gone):
            piece = {"type": "http.response.body", "body": chunk, "more_body": True}
            await asyncio.wait_for(send(piece), SLOW_READER_S)
        await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        _log.warning("a client that reads too slowly is cut off")
    finally:
        gone.cancel()
        await chunks.aclose()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _next(chunks: AsyncGenerator[bytes, None], gone: "asyncio.Future[None]") -> bytes:
    """Return the next piece; an empty one when there is none, or nobody to read it."""

    async def one() -> bytes:
        return await anext(chunks, b"")

    step = asyncio.ensure_future(one())
    try:
        either: list[asyncio.Future[Any]] = [step, gone]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return step.result() if step.done() else b""
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})
