"""A Batuta server in a process of its own, and waiting for what it does."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
READY_LIMIT_S = 20.0  # a start takes below a second; the rest is for a crowded machine
STOP_LIMIT_S = 15.0
PAUSE_S = 0.02  # between two looks
_ANNOUNCED = re.compile(r"batuta serves at http://127\.0\.0\.1:(\d+)")
_pause = threading.Event()

Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen | None], what: str, limit_s: float = 15.0) -> Seen:
    """Look again and again until there is something; fail, saying what, after the limit.

    It does not call `time.sleep`, because some tests shorten that for the SDK.
    """
    end = time.monotonic() + limit_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s} s: {what}")
        _pause.wait(PAUSE_S)


class Server:
    """`batuta serve` on a free port with its own database; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def log(self) -> str:
        return (self._folder / "server.log").read_text("utf-8", "replace")

    def start(self, *options: str) -> None:
        """Start the process and return when /health says that it takes work."""
        already_said = len(self.log) if self.port else 0
        command = [sys.executable, "-m", "batuta", "serve", "--port", str(self.port), *options]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BATUTA_")}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--db", str(self._folder / "batuta.db")],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        said = eventually(
            lambda: _ANNOUNCED.search(self.log, already_said) or self._check_alive(),
            "the server says its address",
            READY_LIMIT_S,
        )
        self.port = int(said.group(1))
        eventually(self._is_healthy, "the server is healthy", READY_LIMIT_S)

    def kill(self) -> None:
        """End the process as a power cut would: SIGKILL."""
        assert self._process is not None, "the server was started"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_LIMIT_S)

    def stop(self) -> None:
        """Ask the process to end, and see that it does."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the server did not stop in time:\n{self.log}") from None

    def check_log(self) -> None:
        """Fail when the server logged an error: an answer of 500 is our bug, whoever sees it."""
        lines = self.log.splitlines()
        bad = [line for line in lines if " ERROR " in line or line.startswith("Traceback")]
        assert not bad, f"the server logged errors:\n{self.log[-8000:]}"

    def _check_alive(self) -> None:
        assert self._process is not None, "the server was started"
        assert self._process.poll() is None, f"the server ended:\n{self.log}"

    def _is_healthy(self) -> bool:
        self._check_alive()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
