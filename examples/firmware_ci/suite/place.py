"""Where the workers keep files, find projects and reach devices: all of it from the environment.

    ARTIFACT_STORAGE_PATH     root of what is kept; default: conductor-artifacts beside temp files
    K1_ARTIFACTS_KEPT         how many builds are kept; default 10, and no fewer than run at once
    K1_COMPILER               stand-in: not PlatformIO, although it is installed
    PLATFORMIO_PROJECT_PATH   the firmware's project; a folder in it named as a commit comes first
    K1_DEVICE_IP              the device where an input names none
    K1_DEVICE_MAP             devices that answer elsewhere: IP=HOST:HTTP_PORT:OTA_PORT, with
                              commas between; * stands for every other
    K1_OTA_PASSWORD           of devices that want one
    K1_OTA_WAIT_S             how long a device is invited before it counts as offline; default 10
    K1_RESTART_S              how long it may take until it is up again; default 15
    K1_OBSERVE_PERCENT        how much of the time that a device is watched is taken; default 100

Names that end in _S are seconds. They are read when they are needed, not once.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

HTTP_PORT, OTA_PORT = 80, 3232
DEVICE_IP = "192.168.1.104"  # what the documents of the project say
BUILD_PREFIX = "k1-build-"
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_BUILD_NAME = re.compile(BUILD_PREFIX + r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")


class RefusedError(ValueError):
    """A name or a path that would lead out of where it belongs."""


class Address(NamedTuple):
    """Where a device answers."""

    host: str
    http_port: int
    ota_port: int


def root() -> Path:
    """Give the folder of all that is kept."""
    default = Path(tempfile.gettempdir()) / "conductor-artifacts"
    return Path(os.environ.get("ARTIFACT_STORAGE_PATH") or default).absolute()


def folder(name: str) -> Path:
    """Give a folder below the root, made where it is missing: firmware, patterns, reports, ..."""
    made = root() / name
    made.mkdir(parents=True, exist_ok=True)
    return made


def artifacts_kept() -> int:
    """Give how many builds are kept."""
    return max(int(os.environ.get("K1_ARTIFACTS_KEPT") or 10), 1)


def project_of(commit_sha: str) -> Path:
    """Give the project that a commit is built from: its own check-out, or the one there is."""
    ours = Path(__file__).parent / "project"
    project = Path(os.environ.get("PLATFORMIO_PROJECT_PATH") or ours).absolute()
    if _COMMIT.fullmatch(commit_sha):
        for one in (project / commit_sha, root() / "patterns" / commit_sha):
            if (one / "platformio.ini").is_file():
                return one
    return project


def build_folder(path: str) -> Path:
    """Give the folder of a build, which is removed and written: only one of ours is allowed.

    Raises:
        RefusedError: It is not k1-build-... directly in the folder of temporary files.
    """
    given = Path(path)
    parent = Path(tempfile.gettempdir())
    is_ours = _BUILD_NAME.fullmatch(given.name) is not None and ".." not in given.parts
    if not is_ours or given.parent.resolve() not in {parent.resolve(), Path("/tmp").resolve()}:  # noqa: S108
        message = f"{path!r} is no folder of a build: {parent}/{BUILD_PREFIX}... is"
        raise RefusedError(message)
    if given.is_symlink():
        raise RefusedError(f"{path!r} is a link")
    return given


def device_ip(given: str | None) -> str:
    """Give the device that an input names, or the usual one."""
    return given or os.environ.get("K1_DEVICE_IP") or DEVICE_IP


def address_of(ip: str) -> Address:
    """Give where a device answers: at its own address, unless K1_DEVICE_MAP says otherwise."""
    rows = [row for row in os.environ.get("K1_DEVICE_MAP", "").split(",") if row.strip()]
    found = dict(row.strip().split("=", 1) for row in rows)
    target = found.get(ip) or found.get("*")
    if target is None:
        return Address(ip, HTTP_PORT, OTA_PORT)
    host, http_port, ota_port = target.rsplit(":", 2)
    return Address(host, int(http_port), int(ota_port))


def restart_s() -> float:
    """Give how long a device may take until it is up again with what it was sent."""
    return float(os.environ.get("K1_RESTART_S") or 15)


def observed_s(wanted_s: float) -> float:
    """Give how long a device is watched for that is to be watched so long."""
    return wanted_s * float(os.environ.get("K1_OBSERVE_PERCENT") or 100) / 100
