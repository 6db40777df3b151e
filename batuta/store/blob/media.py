"""Pictures, films and sound that tasks make or fetch: files that outputs name by a URL.

A name is ours, of 128 bits of chance and an extension by type; whoever has it may read the file,
and no part of a request is ever in a path. A file belongs to a run and goes with it. It is written,
synced and renamed before its name is given to anybody, so a name that was given has its file.

On disk: ``<two digits>/<name without extension>/<run>.<extension>``; ``part`` as it is written.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from batuta.model.error import InvalidError, StoreError
from batuta.store.blob.folder import list_entries, make_folder, sync_folder

MEDIA_BYTES_MAX = 200_000_000  # the default; an uncompressed minute of sound has 10 MB
FREE_BYTES_MIN = 300_000_000  # that a new file leaves alone: the largest one, and a database's log
NAME_BYTES = 16
UNFINISHED_AGE_MS = 3_600_000  # far longer than any write; also for a file whose run comes later
UNOWNED_KEEP_MS = 30 * 86_400_000  # of what was put for no run
SWEEP_FILES = 200  # that one slice looks at: one short read of the database
FILES_PATH = "/files/"
OTHER_TYPE = "application/octet-stream"

# What browsers show without running any of it; anything else is bytes to download.
_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/aac": "aac",
    "audio/mp4": "m4a",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
    "text/plain": "txt",
    "application/json": "json",
    "application/pdf": "pdf",
}
_SAME = {
    "image/jpg": "image/jpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
}
_TYPES = {extension: media_type for media_type, extension in _EXTENSIONS.items()}
_NAME = re.compile(r"([0-9a-f]{32})\.([a-z0-9]{2,4})")
_FILE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|unowned)\.([a-z0-9]{2,4})")
_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNOWNED = "unowned"
_PART = "part"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class MediaFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is there."""

    name: str
    size_bytes: int
    media_type: str

    @property
    def url(self) -> str:
        """Where this server serves it, as a path."""
        return FILES_PATH + self.name


class _Held(msgspec.Struct, frozen=True):
    """A file's folder as a sweep finds it; ``owner``: a run, _UNOWNED, or _PART."""

    folder: Path
    owner: str
    changed_at_ms: int


class MediaFiles:
    """The media files of one folder; several servers may share it.

    Args:
        wall_ms: The clock of the file system, Unix ms.
        bytes_max: Of one file.
    """

    def __init__(
        self, folder: Path, *, wall_ms: Callable[[], int], bytes_max: int = MEDIA_BYTES_MAX
    ) -> None:
        self.bytes_max = bytes_max
        self._folder = folder
        self._wall_ms = wall_ms
        self._walk: Iterator[_Held] | None = None

    async def put(
        self, source: bytes | AsyncIterator[bytes], *, media_type: str, workflow_id: str = ""
    ) -> MediaFile:
        """Keep a file, on disk when this returns.

        Args:
            source: Its bytes, whole or as they come.
            media_type: As in a Content-Type; an unknown one becomes OTHER_TYPE.
            workflow_id: The run it goes with; without one it is kept for UNOWNED_KEEP_MS.

        Raises:
            InvalidError: It is larger than ``bytes_max``. StoreError: The disk did not take it.
        """
        assert not workflow_id or _RUN.fullmatch(workflow_id), f"no id of a run: {workflow_id!r}"
        kind = known_type(media_type)
        extension = _EXTENSIONS.get(kind, "bin")
        chance = secrets.token_hex(NAME_BYTES)
        folder = self._folder / chance[:2] / chance
        done = f"{workflow_id or _UNOWNED}.{extension}"
        opened: BinaryIO | None = None
        try:
            await asyncio.to_thread(_check_room, self._folder)
            file, changed = await asyncio.to_thread(_open, folder)
            opened = file
            size_bytes = await self._fill(file, source)
            await asyncio.to_thread(_close, file, folder, done, changed)
        except OSError as error:
            _give_up(folder, opened)
            raise StoreError(f"a media file cannot be written: {error.strerror}") from error
        except BaseException:  # too large, broken off at its source, or the task is cancelled
            _give_up(folder, opened)
            raise
        return MediaFile(name=f"{chance}.{extension}", size_bytes=size_bytes, media_type=kind)

    def path(self, name: str) -> Path | None:
        """Return where a file is; None when there is none of that name."""
        named = _NAME.fullmatch(name)
        if named is None:
            return None
        for entry in list_entries(self._folder / named[1][:2] / named[1]):
            found = _FILE.fullmatch(entry.name)
            if found and found[2] == named[2] and entry.is_file(follow_symlinks=False):
                return Path(entry.path)
        return None

    async def sweep(
        self, find_gone: Callable[[Sequence[str]], Awaitable[set[str]]]
    ) -> tuple[int, bool]:
        """Look at the next files; remove those of runs that are gone, and unfinished ones.

        Args:
            find_gone: Says which of these runs are not in the database.

        Returns:
            How many were removed, and whether every file has been looked at.
        """
        if self._walk is None:
            self._walk = _walk(self._folder)
        walk = self._walk
        held = await asyncio.to_thread(lambda: list(itertools.islice(walk, SWEEP_FILES)))
        is_last = len(held) < SWEEP_FILES
        if is_last:
            self._walk = None
        now_ms = self._wall_ms()
        old = [one for one in held if one.changed_at_ms < now_ms - UNFINISHED_AGE_MS]
        runs = sorted({one.owner for one in old} - {_PART, _UNOWNED})
        gone = await find_gone(runs) if runs else set()
        unowned_ms = now_ms - UNOWNED_KEEP_MS
        removed = [
            one.folder
            for one in old
            if one.owner == _PART
            or one.owner in gone
            or (one.owner == _UNOWNED and one.changed_at_ms < unowned_ms)
        ]
        await asyncio.to_thread(_remove, removed)
        return len(removed), is_last

    async def _fill(self, file: BinaryIO, source: bytes | AsyncIterator[bytes]) -> int:
        size_bytes = 0
        async for piece in _pieces(source):
            size_bytes += len(piece)
            if size_bytes > self.bytes_max:
                raise InvalidError(
                    f"the file is larger than {self.bytes_max:,} bytes; the setting "
                    "media_bytes_max (BATUTA_MEDIA_BYTES_MAX) can allow more"
                )
            await asyncio.to_thread(file.write, piece)
        return size_bytes


def known_type(media_type: str) -> str:
    """Return a media type without parameters by its usual name; OTHER_TYPE for an unknown one."""
    kind = media_type.partition(";")[0].strip().lower()
    kind = _SAME.get(kind, kind)
    return kind if kind in _EXTENSIONS else OTHER_TYPE


def type_of(name: str) -> str:
    """Return the media type of a file's name, or of the path of a URL."""
    extension = name.rpartition(".")[2].lower()
    return _TYPES.get("jpg" if extension == "jpeg" else extension, OTHER_TYPE)


async def _pieces(source: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    async for piece in source:
        yield piece


def _check_room(folder: Path) -> None:
    """See that the disk, which the database may be on too, is not about to be full."""
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < FREE_BYTES_MIN:
        raise OSError(errno.ENOSPC, f"the disk has less than {FREE_BYTES_MIN:,} bytes left")


def _open(folder: Path) -> tuple[BinaryIO, list[Path]]:
    """Open a new file; return it, and the folders that got a new entry by that."""
    changed = make_folder(folder)
    return os.fdopen(os.open(folder / _PART, _NEW, 0o600), "wb"), changed


def _close(file: BinaryIO, folder: Path, done: str, changed: Sequence[Path]) -> None:
    """Sync a file, give it its name, and sync every folder that got a new entry."""
    with file:
        file.flush()
        os.fsync(file.fileno())
    (folder / _PART).rename(folder / done)
    for one in (folder, *changed):
        sync_folder(one)


def _give_up(folder: Path, file: BinaryIO | None) -> None:
    """Remove a file that is half there, which is nobody's."""
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()
    shutil.rmtree(folder, ignore_errors=True)


def _walk(folder: Path) -> Iterator[_Held]:
    """Give every file, folder by folder; those that vanish meanwhile are passed over."""
    for group in list_entries(folder):
        if len(group.name) != 2:
            continue
        for one in list_entries(Path(group.path)):
            with contextlib.suppress(OSError):
                changed_at_ms = one.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
                named = [_FILE.fullmatch(entry.name) for entry in list_entries(Path(one.path))]
                owner = next((found[1] for found in named if found), _PART)
                yield _Held(Path(one.path), owner, changed_at_ms)


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
