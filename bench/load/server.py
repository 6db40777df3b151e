"""A server process to measure: started, found ready, measured, stopped by pid."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

READY_S = 20.0


class Server:
    """``batuta serve`` on a free port; a context manager."""

    def __init__(
        self, db: Path, *, core: int | None = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        self._db = db
        self._environment = {**os.environ, **(environment or {})}
        self._core = core
        self.port = 0
        self.ready_s = 0.0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "batuta", "serve", "--port", "0", "--db", str(self._db)]
        started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if self._core is not None and (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(self._process.pid, {self._core})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = re.search(r"http://[^\s:]+:(\d+)", line)
            if found:
                self.port = int(found[1])
                self.ready_s = time.perf_counter() - started
                return self
            if time.perf_counter() - started > READY_S:
                break
        raise RuntimeError("the server did not become ready")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def kill(self) -> None:
        """End the server as a power cut would: no drain, no checkpoint."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the CPU seconds the server has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Return the server's resident memory in MB, children included."""
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return round(sum(p.memory_info().rss for p in family) / 1e6, 1)
