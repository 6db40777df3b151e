"""The store of firmware: `<root>/firmware/firmware-<version>.bin` with its `.metadata.json`.

A file is whole before it has its name, so a reader sees the old one or the new one. The last
builds stay (``place.artifacts_kept``), by the time they were built, and those that a device was
last found healthy with, however old they are: a rollback needs them. The one that is being stored
stays too, since its deployment comes next. Names and links that lead out are refused.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from examples.firmware_ci.suite.place import RefusedError, artifacts_kept, folder

BYTES_MAX = 64_000_000  # four times the largest flash of the chip
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,99}")
_NAME = re.compile(r"firmware-(.+)\.bin")


class Artifact(NamedTuple):
    """A stored binary and what is known of it."""

    version: str
    path: Path
    about: dict[str, Any]

    @property
    def url(self) -> str:
        """Where it is, as other tasks are told."""
        return self.path.as_uri()


def store(source: Path, version: str, about: dict[str, Any]) -> Artifact:
    """Keep a binary under its version; the same once more changes nothing, then remove old ones.

    Args:
        about: Goes into the metadata, beside version, checksum and time.

    Raises:
        RefusedError: The version is no name, or the source is no plain file.
    """
    path = _path(version)
    content = read_plain(source)
    checksum = hashlib.sha256(content).hexdigest()
    with _locked():
        before = _metadata(path) or {}
        same = before if before.get("checksum") == checksum else {}
        _replace(path, content)
        metadata = {
            "version": version,
            "commit_sha": version,
            "build_timestamp": datetime.now(UTC).isoformat(),
            **{key: value for key, value in about.items() if value is not None},
            "checksum": checksum,
            "size_bytes": len(content),
            "known_good": same.get("known_good", {}),
        }
        _write_metadata(path, metadata)
        _retain(version)
    return Artifact(version, path, metadata)


def find(url: str) -> Artifact:
    """Give the artifact at a URL or path, or of a version.

    Raises:
        RefusedError: It does not lead to a file of the store.
        FileNotFoundError: There is none of that name.
    """
    name = unquote(urlsplit(url).path) if url.startswith("file:") else url
    given = Path(name)
    if given.name == name:
        path = _path(name)
    else:
        matched = _NAME.fullmatch(given.name)
        if matched is None or given.parent.resolve() != _folder().resolve():
            raise RefusedError(f"{url!r} is not in the store of firmware, {_folder()}")
        path = _path(matched[1])
    about = _metadata(path)
    if about is None or path.is_symlink() or not path.is_file():
        raise FileNotFoundError(f"there is no firmware {path.name}")
    return Artifact(str(about["version"]), path, about)


def content_of(artifact: Artifact) -> bytes:
    """Read a binary; what is not what was stored is not sent to a device.

    Raises:
        RefusedError: Its checksum is another one than when it was stored.
    """
    content = read_plain(artifact.path)
    if hashlib.sha256(content).hexdigest() != artifact.about["checksum"]:
        raise RefusedError(f"{artifact.path.name} has changed since it was stored")
    return content


def mark_good(version: str, device: str) -> None:
    """Note that a device was healthy with a version."""
    path = _path(version)
    with _locked():
        about = _metadata(path)
        if about is not None:
            marks = {**about.get("known_good", {}), device: datetime.now(UTC).isoformat()}
            _write_metadata(path, {**about, "known_good": marks})


def last_good(device: str) -> Artifact | None:
    """Give what a device was last healthy with; what any was, where it never was."""
    found = list_all()
    own = [one for one in found if device in one.about.get("known_good", {})]
    marked = own or [one for one in found if one.about.get("known_good")]
    return max(marked, key=lambda one: _marked_at(one, device), default=None)


def list_all() -> list[Artifact]:
    """Give every artifact, the oldest build first."""
    found = []
    for path in _folder().glob("firmware-*.bin"):
        about = None if path.is_symlink() else _metadata(path)
        if about is not None:
            found.append(Artifact(str(about["version"]), path, about))
    return sorted(found, key=lambda one: (str(one.about["build_timestamp"]), one.version))


def read_plain(path: Path) -> bytes:
    """Read a file that is neither a link nor anything but a file.

    Raises:
        RefusedError: It is something else, or larger than BYTES_MAX.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RefusedError(f"{str(path)!r} is no plain file") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > BYTES_MAX:
            raise RefusedError(f"{str(path)!r} is no plain file of at most {BYTES_MAX} bytes")
        return file.read()


def _folder() -> Path:
    return folder("firmware")


def _path(version: str) -> Path:
    if _VERSION.fullmatch(version) is None or ".." in version:
        raise RefusedError(f"{version!r} is no version: letters, digits, . _ + - are allowed")
    return _folder() / f"firmware-{version}.bin"


def _metadata(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_plain(path.with_suffix(".metadata.json")))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and "checksum" in found else None


def _write_metadata(path: Path, about: dict[str, Any]) -> None:
    _replace(path.with_suffix(".metadata.json"), json.dumps(about, indent=2).encode())


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    part.replace(path)  # a link of that name is replaced, not followed


def _retain(stored: str) -> None:
    """Remove what is neither among the newest nor needed for a rollback, nor just stored."""
    found = list_all()
    devices = {device for one in found for device in one.about.get("known_good", {})}
    needed = {one.version for device in devices if (one := last_good(device))}
    needed |= {stored, *(one.version for one in found[-artifacts_kept() :])}
    for one in found:
        if one.version not in needed:
            one.path.unlink(missing_ok=True)
            one.path.with_suffix(".metadata.json").unlink(missing_ok=True)


def _marked_at(artifact: Artifact, device: str) -> str:
    marks: dict[str, str] = artifact.about["known_good"]
    return marks.get(device) or max(marks.values())


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Keep other workers, of other processes too, from storing at the same time."""
    with (_folder() / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
