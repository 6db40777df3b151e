"""Real processes for tests: `batuta serve`, `batuta worker` and single commands."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
READY_S = 20.0  # two cores that are shared with other work
COMMAND_S = 50.0

# Nothing of the machine's own settings may reach a test.
FOREIGN = ("BATUTA_", "CONDUCTOR_", "PORT", "LOG_LEVEL", "FORCE_COLOR", "FIRMWARE_CI", "MEDIA_")
FOREIGN += ("PG", "WORKER_", "POLL_INTERVAL_MS")


def environment(**more: str) -> dict[str, str]:
    """Give this process's environment without what a setting might be read from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONUTF8": "1"} | more


def batuta(*arguments: str, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "batuta", *arguments],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


class Process:
    """A command that stays up; its lines are read as they come."""

    def __init__(self, *arguments: str, cwd: Path = ROOT, **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "batuta", *arguments],
            cwd=cwd,
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches, and give the match."""
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            found.extend(match for line in self.lines if (match := re.search(pattern, line)))
            return bool(found)

        wait_until(lambda: is_there() or self.process.poll() is not None)
        assert is_there(), f"ended before {pattern!r} was said: {self.lines}"
        return found[0]

    def stop(self) -> int:
        """Ask it to end as a service manager does, and give its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self._end()

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self.process.kill()
        self._end()

    def _end(self) -> int:
        try:
            code = self.process.wait(READY_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for reader in self._readers:
                reader.join(READY_S)
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
        return code

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append(line.rstrip("\n"))


@contextlib.contextmanager
def process(*arguments: str, cwd: Path = ROOT, **more: str) -> Iterator[Process]:
    """Give a process that is stopped at the end, however the test ends."""
    running = Process(*arguments, cwd=cwd, **more)
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def server(db: Path, *arguments: str, port: int = 0, **more: str) -> Iterator[str]:
    """Serve a database and give the server's URL."""
    options = ("--port", str(port), "--db", str(db), "--log-level", "warning")
    with process("serve", *options, *arguments, **more) as running:
        yield running.wait_for(r"serves at (http://\S+)")[1]


def wait_until(is_done: Callable[[], bool], limit_s: float = READY_S) -> None:
    """Wait for a condition; an AssertionError says that it did not come."""
    until_s = time.monotonic() + limit_s
    while not is_done():
        assert time.monotonic() < until_s, f"not within {limit_s} s"
        time.sleep(0.02)
