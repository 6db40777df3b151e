"""What the machine gives at this moment, with nothing of Batuta in it.

The speed of a rented machine changes by the hour with what else its host does. Two yardsticks say
what a figure taken beside them is worth: requests to a server that reads JSON and answers JSON and
does nothing else, with the client and the cores of the HTTP figures; and plain Python.

python -m bench.machine.bare       serve on a free port, printing it; the part starts it so
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import uvicorn
import uvloop

from bench.load.client import Connection, expect
from bench.load.http import CONNECTIONS, Found, report
from bench.load.inprocess import named

REQUESTS = 20_000
LOOPS = 2_000_000

_BODY = report(Found(workflow_instance_id="0" * 36, task_id="1" * 36))
_HEAD: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json")],
}


async def answer(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """An ASGI application: read the body's JSON, answer it as JSON."""
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    await send(_HEAD)
    found = msgspec.json.encode(msgspec.json.decode(body))
    await send({"type": "http.response.body", "body": found})


async def _ask(port: int, requests: int) -> float:
    """Return answered requests a second."""
    left = iter(range(requests))

    async def one() -> None:
        connection = await Connection.open("127.0.0.1", port)
        for _ in left:
            await expect(connection, "POST", "/", _BODY)
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return requests / (time.perf_counter() - started)


@contextlib.contextmanager
def _cores(server_pid: int) -> Iterator[None]:
    """Keep the server on the first core and this process on the other, as the HTTP figures do."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(before) > 1:
        os.sched_setaffinity(server_pid, {0})
        os.sched_setaffinity(0, {1})
    try:
        yield
    finally:
        if len(before) > 1:
            os.sched_setaffinity(0, before)


def measure(scale: float) -> dict[str, float]:
    """Return one pass of both yardsticks."""
    requests, loops = max(int(REQUESTS * scale), 100), max(int(LOOPS * scale), 1_000)
    command = [sys.executable, "-m", "bench.machine.bare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            with _cores(server.pid):
                uvloop.run(_ask(port, requests // 10))  # warm-up
                per_s = uvloop.run(_ask(port, requests))
        finally:
            server.terminate()
    started, total = time.process_time(), 0
    for number in range(loops):
        total += number
    loop_ns = (time.process_time() - started) / loops * 1e9
    return named("machine", {"bare_posts_per_s": round(per_s), "loop_ns": round(loop_ns, 1)})


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)  # a connection waits until it is served
        config = uvicorn.Config(
            answer, loop="uvloop", http="httptools", log_level="error", lifespan="off"
        )
        uvicorn.Server(config).run(sockets=[listener])
