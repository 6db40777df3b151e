"""`batuta worker`: task functions in a process of their own."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batuta.cli.process import run_loop, set_up_log
from batuta.cli.settings import read_settings
from batuta.config import Settings
from batuta.workers.function import TaskFunction, concurrent
from batuta.workers.loop import Workers
from batuta.workers.module import load_functions

STDIN_BYTES = 4_096  # read at a time, and forgotten


def worker_command(
    flags: Mapping[str, Any],
    env_file: Path | None,
    modules: Sequence[str],
    dialects: Sequence[str] = (),
    *,
    is_until_stdin_ends: bool,
) -> None:
    """Poll until a signal; then finish what is under way, within the drain time.

    A second signal does not wait. `is_until_stdin_ends` ends it with the process that started it.
    """
    settings = read_settings(flags, env_file).settings
    loaded = [*(load_functions(modules) if modules else ()), *_of_dialects(dialects, settings)]
    functions = concurrent(loaded, settings.worker_concurrency)
    set_up_log(settings.log_level)
    name = settings.worker_id or f"{socket.gethostname()}-{os.getpid()}"
    run_loop(_work(settings, functions, name, is_until_stdin_ends=is_until_stdin_ends))


def _of_dialects(dialects: Sequence[str], settings: Settings) -> list[TaskFunction]:
    """Return what does the tasks of front doors; here as in a server."""
    if "dag" not in dialects:
        return []
    from urllib.parse import urlsplit

    from batuta.config import is_loopback
    from batuta.dialects.dag.call import Caller
    from batuta.dialects.dag.node import node_function
    from batuta.workers.system.target import targets_of

    server = urlsplit(settings.server_url)
    api = ""
    if settings.api_host or settings.api_port:
        port = settings.api_port or server.port or (443 if server.scheme == "https" else 80)
        api = f"http://{settings.api_host or 'localhost'}:{port}"
    is_shared = not is_loopback(server.hostname or "")
    targets = targets_of(settings.http_allowed_targets, is_shared=is_shared)
    return [node_function(Caller(targets=targets, api=api))]


async def _work(
    settings: Settings,
    functions: Sequence[TaskFunction],
    worker_id: str,
    *,
    is_until_stdin_ends: bool,
) -> None:
    from batuta.workers.remote import RemoteTransport

    stopping = asyncio.Event()
    transport = RemoteTransport(
        settings.server_url, worker_id, poll_wait_ms=settings.poll_interval_ms
    )
    workers = Workers(transport, functions)
    _stop_on_signals(stopping)
    if is_until_stdin_ends:
        _stop_with_stdin(stopping)
    workers.start()
    names = ", ".join(sorted(function.task_type for function in functions))
    print(f"worker {worker_id} polls {settings.server_url} for {names}", flush=True)
    await stopping.wait()
    await workers.drain(settings.drain_ms)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            os._exit(130)  # asked twice: what is under way is offered again by its lease
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends it at once
            loop.add_signal_handler(number, stop)


def _stop_with_stdin(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # Not through sys.stdin, whose lock Python wants when it ends, while we still read.
        while os.read(0, STDIN_BYTES):
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stopping.set)

    threading.Thread(target=wait, name="stdin", daemon=True).start()
