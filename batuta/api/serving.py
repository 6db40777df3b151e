"""Running the application: uvicorn with uvloop and httptools, and how it stops."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator

import uvicorn

from batuta.api.protocol import OneWriteProtocol

HEARD_S = 0.25  # after the listener closed; by then the requests heard before have been begun
LISTEN_BACKLOG = 2_048
KEEP_ALIVE_S = 75  # longer than the pool time-outs of the SDKs, so that they close first


class Server(uvicorn.Server):
    """Stops by closing the listener first, so that clients see a refused connection.

    Args:
        on_exit: Called when a signal asked to stop and what was heard before is in hand.
    """

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def stop_by(self, number: int) -> None:
        """Begin to stop: no further connection, nor a further request on those there are.

        What was heard before is served; then whoever waits in a long poll is answered.
        """
        self.handle_exit(number, None)
        for listener in getattr(self, "servers", ()):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        asyncio.get_running_loop().call_later(HEARD_S, self._on_exit)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT while serving; uvicorn's own would also raise them again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop_by, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def make_server(
    application: Callable[..., Awaitable[None]],
    *,
    host: str,
    port: int,
    drain_ms: int,
    on_exit: Callable[[], None],
) -> Server:
    """Return a server that is yet to be served; port 0 takes a free one.

    Args:
        drain_ms: How long stopping waits for requests under way.
        on_exit: See Server.
    """
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=OneWriteProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # nothing here asks who the client of a proxy is, or by what scheme
        backlog=LISTEN_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(drain_ms // 1_000, 1),
    )
    return Server(config, on_exit)


def listeners(host: str, ports: Iterable[int]) -> list[socket.socket]:
    """Return sockets bound to ports of a host, for a server that listens at several.

    Raises:
        OSError: One of them is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound: list[socket.socket] = []
    try:
        for port in ports:
            one = socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
            bound.append(one)
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


async def until_started(server: Server, serving: "asyncio.Task[None]") -> None:
    """Return when the server listens.

    Raises:
        OSError: It could not start.
    """
    while not server.started:
        done, _ = await asyncio.wait({serving}, timeout=0.01)
        if done:
            serving.result()
            raise OSError("the server could not start; the log above says why")


def url_of(server: Server) -> str:
    """Return the base URL of a server that listens, its real port included."""
    host, port = server.config.host, server.config.port
    for listener in server.servers[:1]:  # the others are aliases
        for one in listener.sockets:
            port = one.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
