"""What the figures were measured on, and how much others used the machine meanwhile."""

import os
import platform
import sys
import time
from importlib.metadata import version
from typing import Any

import apsw

_PACKAGES = ("apsw", "msgspec", "uvicorn", "uvloop", "httptools")


def describe() -> dict[str, Any]:
    """Return the processor, the kernel and the versions that matter."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "sqlite": apsw.sqlite_lib_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


class ForeignCpu:
    """How many cores other processes used between ``start`` and ``stop`` (0.0 on a quiet machine).

    The machine's busy time less our own and our children's.
    """

    def __init__(self) -> None:
        self._busy = 0.0
        self._own = 0.0
        self._at = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._busy, self._own, self._at = busy_s(), _own_s(), time.perf_counter()

    def stop(self) -> float:
        """Return the foreign cores since ``start``; -1 where /proc/stat is missing."""
        if self._busy < 0:
            return -1.0
        elapsed = time.perf_counter() - self._at
        foreign = (busy_s() - self._busy) - (_own_s() - self._own)
        return round(max(foreign, 0.0) / elapsed, 2)


def busy_s() -> float:
    """Return CPU seconds that the machine was busy since its start; -1 where nothing says so."""
    try:
        with open("/proc/stat", encoding="utf-8") as file:  # noqa: PTH123
            parts = [int(part) for part in file.readline().split()[1:]]
    except OSError:
        return -1.0
    idle = parts[3] + parts[4]
    return (sum(parts[:8]) - idle) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
