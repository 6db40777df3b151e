"""A real server in a process of its own, that can be killed and started again."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

from bench.load.client import Connection

ROOT = Path(__file__).parents[2]
START_S = 30  # until a server listens; some tenths of a second on an idle machine
STOP_S = 30


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """``batuta serve`` on a SQLite file, or at a URL; always at the same port."""

    def __init__(self, folder: Path, url: str = "", **settings: str) -> None:
        self.port = free_port()
        self._url = url
        self._settings = settings  # environment names and their values
        self.database = folder / "batuta.db"
        self._folder = folder
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and return once it answers."""
        command = [sys.executable, "-m", "batuta", "serve", "--log-level", "warning"]
        command += ["--port", str(self.port), "--db", self._url or str(self.database)]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(self._folder)}
        environment |= self._settings
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                command, cwd=self._folder, env=environment, stdout=log, stderr=log
            )
        async with asyncio.timeout(START_S):
            while not await self._answers():
                if self._process.poll() is not None:
                    raise RuntimeError(f"the server ended: {self.log()}")
                await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        try:
            connection = await Connection.open("127.0.0.1", self.port)
            status, _ = await connection.request("GET", "/health")
        except OSError:
            return False
        connection.close()
        return status == 200

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it as a power cut would, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Return its exit code once it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, STOP_S)

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log(self) -> str:
        """Return what it said."""
        return self._log.read_text("utf-8", "replace")[-4_000:]
