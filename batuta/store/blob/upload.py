"""Payloads that a client uploads by themselves, to name them in a later request.

A name is ours: chance, and a code over it that only the holder of the folder's key can make. So a
name that nobody was given has no file and gets none, and no part of a request is ever in a path.
An upload is copied into the run that names it; it is removed after a day, so that a request that
is sent again still finds it.
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from batuta.model.error import BusyError, StoreError
from batuta.store.blob.folder import read_file

UPLOAD_BYTES_MAX = 16_000_000  # the default; Conductor's Java client sends no more than 10 MB
UPLOADS_BYTES_MAX = 4_000_000_000  # of all that wait; they are for requests of the next minutes
UPLOAD_KEEP_MS = 86_400_000  # a client that sends its request again does so within a day
KEY_BYTES = 32
CODE_BYTES = 16  # of a name's code; as hard to guess as the name itself

_NAME = re.compile(r"[0-9a-f]{64}")
_FULL_WAIT_MS = 60_000  # when the space is used up: a sweep comes by in that time
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Uploads:
    """The uploads of one folder; several servers may share it.

    Args:
        wall_ms: The clock of the file system, Unix ms.
        bytes_max: Of one upload; whoever receives it checks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wall_ms: Callable[[], int],
        bytes_max: int = UPLOAD_BYTES_MAX,
        total_bytes_max: int = UPLOADS_BYTES_MAX,
    ) -> None:
        self.bytes_max = bytes_max
        self._folder = folder
        self._wall_ms = wall_ms
        self._total_bytes_max = total_bytes_max
        self._held_bytes: int | None = None
        self._key: bytes | None = None

    async def issue(self) -> str:
        """Return a new name, under which something may be uploaded: 64 hexadecimal digits.

        Raises:
            StoreError: The folder cannot be written.
        """
        chance = secrets.token_hex(CODE_BYTES)
        key = await self._key_of_folder(is_made=True)
        assert key is not None, "a key that is not there is made"
        return chance + _code(key, chance)

    async def put(self, name: str, raw: bytes) -> bool:
        """Keep an upload, on disk when this returns; False: the name is not one of ours.

        Raises:
            BusyError: There is no room now. StoreError: The disk did not take it.
        """
        path = await self._path(name)
        if path is None:
            return False
        if self._held_bytes is None:
            await self.sweep()
        held_bytes = (self._held_bytes or 0) + len(raw)
        if held_bytes > self._total_bytes_max:
            raise BusyError(
                f"uploads that wait have {self._total_bytes_max} bytes already; try later",
                retry_after_ms=_FULL_WAIT_MS,
            )
        self._held_bytes = held_bytes
        await asyncio.to_thread(_write, path, raw)
        return True

    async def get(self, name: str) -> bytes | None:
        """Return an upload; None when there is none of that name."""
        path = await self._path(name)
        return None if path is None else await asyncio.to_thread(read_file, path)

    async def sweep(self) -> int:
        """Remove uploads that are old; return how many."""
        removed, self._held_bytes = await asyncio.to_thread(
            _sweep, self._folder, self._wall_ms() - UPLOAD_KEEP_MS
        )
        return removed

    async def _path(self, name: str) -> Path | None:
        if not _NAME.fullmatch(name):
            return None
        key = await self._key_of_folder(is_made=False)
        size = 2 * CODE_BYTES
        if key is None or not hmac.compare_digest(_code(key, name[:size]), name[size:]):
            return None
        return self._folder / name[:2] / name

    async def _key_of_folder(self, *, is_made: bool) -> bytes | None:
        if self._key is None:
            self._key = await asyncio.to_thread(_key, self._folder, is_made=is_made)
        return self._key


def _code(key: bytes, chance: str) -> str:
    return hmac.new(key, chance.encode(), hashlib.sha256).hexdigest()[: 2 * CODE_BYTES]


def _key(folder: Path, *, is_made: bool) -> bytes | None:
    """Return the folder's key, which the first one who needs it makes."""
    path = folder / "key"
    found = read_file(path)
    if found is not None or not is_made:
        return found
    _write(path, secrets.token_bytes(KEY_BYTES), is_new=True)
    return read_file(path)


def _write(path: Path, raw: bytes, *, is_new: bool = False) -> None:
    """Write a file whole or not at all; one that is there is replaced, unless ``is_new``."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, _NEW, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            with contextlib.suppress(FileExistsError):
                os.link(beside, path)
            beside.unlink()
        else:
            beside.replace(path)
    except OSError as error:
        raise StoreError(f"an upload cannot be written: {error.strerror}") from error


def _sweep(folder: Path, before_ms: int) -> tuple[int, int]:
    """Return how many were removed, and the bytes of those that stay."""
    removed = held_bytes = 0
    for path in folder.glob("??/*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_mtime_ns // 1_000_000 < before_ms:
                path.unlink()
                removed += 1
            else:
                held_bytes += found.st_size
    return removed, held_bytes
