"""Compiling with PlatformIO, or with the stand-in where PlatformIO is not installed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from examples.firmware_ci.suite.place import RefusedError

BUILD_S = 290.0  # the task has 300 seconds
LOG_CHARACTERS_MAX = 200_000  # of a log that goes with the task; its begin says the least
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_ERROR = re.compile(r"(?:fatal )?error: .*|^Error: .*", re.IGNORECASE | re.MULTILINE)


class Built(NamedTuple):
    """What a build left: the binary, unless it failed, and the log."""

    binary: Path | None
    log: str
    error: str


def compiler() -> list[str]:
    """Give the command that is PlatformIO, or the stand-in."""
    found = shutil.which("pio") or shutil.which("platformio")
    if os.environ.get("K1_COMPILER") == "stand-in":
        found = None
    return [found] if found else [sys.executable, "-m", "examples.firmware_ci.suite.firmware.pio"]


def signature_of(environment: str, commit_sha: str) -> str:
    """Give what a device with this build says of itself."""
    return f"k1-{environment}-{commit_sha}"


def compile_project(
    project: Path, environment: str, commit_sha: str, folder: Path, say: Callable[[str], None]
) -> Built:
    """Build an environment of a project into a folder of its own.

    The firmware is told its signature as BUILD_SIGNATURE, so that the device can say it.

    Args:
        folder: Takes PlatformIO's workspace, `.pio`; what another build left is removed.

    Raises:
        RefusedError: The environment is no name.
    """
    for name in (environment, commit_sha):
        if _NAME.fullmatch(name) is None:
            raise RefusedError(f"{name!r} is no name: letters, digits, . _ - are allowed")
    workspace = folder / ".pio"
    shutil.rmtree(workspace, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    flag = f'-DBUILD_SIGNATURE=\\"{signature_of(environment, commit_sha)}\\"'
    settings = {
        **os.environ,
        "PLATFORMIO_WORKSPACE_DIR": str(workspace),
        "PLATFORMIO_BUILD_FLAGS": f"{os.environ.get('PLATFORMIO_BUILD_FLAGS', '')} {flag}".strip(),
        "PYTHONPATH": str(Path(__file__).parents[4]),
    }
    command = [*compiler(), "run", "-e", environment, "-d", str(project)]
    code, log = _run(command, settings, say)
    binary = workspace / "build" / environment / "firmware.bin"
    if code == 0 and binary.is_file():
        return Built(binary, log[-LOG_CHARACTERS_MAX:], "")
    found = _ERROR.search(log)
    error = found[0] if found else f"the compiler ended with {code} and left no firmware.bin"
    return Built(None, log[-LOG_CHARACTERS_MAX:], error)


def _run(
    command: list[str], settings: dict[str, str], say: Callable[[str], None]
) -> tuple[int, str]:
    lines = []
    with subprocess.Popen(  # noqa: S603  the command is ours, its names are checked
        command,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,  # so that the compilers that it starts end with it
    ) as process:
        late = threading.Timer(BUILD_S, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                say(line.rstrip("\n"))
        finally:
            late.cancel()
    return process.returncode, "".join(lines)
