"""One engine that is measured: its workload's process, the servers it needs, and their CPU."""

import json
import statistics
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import psutil

from bench.machine.described import busy_s

FAN_OUTS = (100, 1_000)
ANSWER_S = 120  # of a phase; the slowest takes some ten seconds


class Phase(msgspec.Struct, frozen=True):
    """What one line of a workload gave; CPU is of its process and its servers together."""

    count: int
    elapsed_s: float
    times_ms: list[float]
    cpu_s: float
    foreign_cores: float

    @property
    def runs_per_s(self) -> float:
        """Runs that began and ended, a second."""
        return self.count / self.elapsed_s

    @property
    def cpu_us(self) -> float:
        """CPU of one run."""
        return self.cpu_s / self.count * 1e6


class Workload:
    """A workload's process; a context manager."""

    def __init__(
        self,
        command: list[str],
        servers: list[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment,
            )
        self._roots = [self._process.pid, *servers]
        self.hello: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.hello = self._read()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def phase(self, shape: str, seconds: float, clients: int) -> Phase:
        """Have clients do runs one after the other for a time."""
        assert self._process.stdin is not None
        cpu, busy = self._cpu_s(), busy_s()
        words = {"shape": shape, "seconds": seconds, "clients": clients}
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        found = self._read()
        cpu, busy = self._cpu_s() - cpu, busy_s() - busy
        foreign = round(max(busy - cpu, 0.0) / found["elapsed_s"], 2)
        return Phase(**found, cpu_s=cpu, foreign_cores=foreign)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        # A workload that hangs is ended, and so says nothing more.
        guard = threading.Timer(ANSWER_S, self._process.kill)
        guard.start()
        line = self._process.stdout.readline()
        guard.cancel()
        if not line:
            said = self._log.read_text("utf-8", "replace")[-1_000:]
            raise RuntimeError(f"the workload {self._process.args!r} ended: {said}")
        return dict(json.loads(line))

    def _cpu_s(self) -> float:
        """Return CPU seconds of all our processes, those included that have ended."""
        total = 0.0
        for root in self._roots:
            process = psutil.Process(root)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
                    times = one.cpu_times()
                    total += times.user + times.system
                    total += times.children_user + times.children_system
        return total


def measure(workload: Workload, seconds: float) -> tuple[dict[str, float], list[float]]:
    """Return one pass of all figures, and the foreign cores of each phase.

    Throughput is that of the best number of clients, a fan-out's time that of its best form.
    """
    figures: dict[str, float] = {}
    foreign: list[float] = []
    workload.phase("ten_steps", seconds / 2, 1)  # warm-up
    for shape in ("one_step", "ten_steps"):
        tried = [workload.phase(shape, seconds, n) for n in workload.hello["clients"]]
        best = max(tried, key=lambda phase: phase.runs_per_s)
        figures[f"{shape}_runs_per_s"] = round(best.runs_per_s, 1)
        figures[f"{shape}_cpu_us"] = round(best.cpu_us)
        foreign.append(best.foreign_cores)
    idle = workload.phase("ten_steps", seconds, 1)
    figures["idle_chain_p50_ms"] = round(statistics.median(idle.times_ms), 2)
    foreign.append(idle.foreign_cores)
    for width in FAN_OUTS:
        forms = workload.hello.get("forms", ["fan_out"])
        tried = [workload.phase(f"{form}_{width}", seconds, 1) for form in forms]
        best = min(tried, key=lambda phase: statistics.median(phase.times_ms))
        figures[f"fan_out_{width}_p50_ms"] = round(statistics.median(best.times_ms), 1)
        figures[f"fan_out_{width}_cpu_us"] = round(best.cpu_us / width)
        foreign.append(best.foreign_cores)
    return figures, foreign
