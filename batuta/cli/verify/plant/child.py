"""A program that runs beside the checks, and what it says."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from batuta.cli.checklist.item import AbsentError, CheckError

READY_S = 30.0
END_S = 15.0
LOOK_S = 0.02  # between two looks at what is waited for
_PAUSE = threading.Event()  # never set: waiting for it is waiting


class Child:
    """A process of ours; it ends with us at the latest."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(  # noqa: S603  the command is ours
            command,
            cwd=cwd,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None, "its output was asked for"
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until so many lines match; give the first group of each.

        Raises:
            CheckError: It ended before, or did not say it in time.
        """

        def found() -> list[str]:
            return [match[1] for line in self.lines if (match := re.search(pattern, line))]

        wait_until(lambda: len(found()) >= count or not self.is_alive, "a process to be ready")
        if len(found()) < count:
            raise CheckError(f"a process ended at once: {' / '.join(self.lines[-3:])}")
        return found()[:count]

    @property
    def is_alive(self) -> bool:
        """Say whether it still runs."""
        return self.process.poll() is None

    def stop(self) -> int:
        """End it as a service manager does; give its exit code."""
        if self.is_alive:
            self.process.terminate()
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(END_S)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        return code

    def trouble(self) -> list[str]:
        """Give the lines that speak of errors."""
        return [line for line in self.lines if re.search(r"\bERROR\b|Traceback|refused", line)]

    def cpu_s(self) -> float:
        """Give how much time of a processor it has taken.

        Raises:
            AbsentError: This system does not say.
        """
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def size_bytes(self) -> int:
        """Give how much memory it has.

        Raises:
            AbsentError: This system does not say.
        """
        found = re.search(r"VmRSS:\s+(\d+) kB", self._proc("status"))
        if found is None:
            raise AbsentError("this system does not say how much memory a process has")
        return int(found[1]) * 1_024

    def _proc(self, name: str) -> str:
        try:
            return Path(f"/proc/{self.process.pid}/{name}").read_text("utf-8")
        except OSError as error:
            raise AbsentError("this system does not say what a process takes") from error

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append(line.rstrip("\n"))


def wait_until(is_done: Callable[[], bool], what: str, limit_s: float = READY_S) -> None:
    """Wait for a condition.

    Raises:
        CheckError: It did not come in time.
    """
    until_s = time.monotonic() + limit_s
    while not is_done():
        if time.monotonic() > until_s:
            raise CheckError(f"waited {limit_s:g} s for {what}")
        _PAUSE.wait(LOOK_S)
