"""The files of large payloads: ``<two digits>/<run>/<seq>-<part>-<name>``.

All of it blocks; the store runs it in a thread. Names are ours: nothing of a request is in a path.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from batuta.model.error import StoreError
from batuta.store.blob.reference import Place

_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILE = re.compile(r"(\d{1,19})-(input|output|variables)-([0-9a-f]{32})")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Found(msgspec.Struct, frozen=True):
    """A file that is there, with the time of its last change, Unix ms."""

    place: Place
    name: str
    changed_at_ms: int


class Folder:
    """The folder that a store's large payloads are in; made when the first one is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, files: Sequence[tuple[Place, str, bytes]]) -> None:
        """Write files and return once they, and their names, are on disk.

        Raises:
            StoreError: The disk did not take it; what was written is nobody's.
        """
        try:
            folders: dict[Path, None] = {}
            for place, name, raw in files:
                path = self._file(place, name)
                for folder in make_folder(path.parent):
                    folders[folder] = None
                folders[path.parent] = None
                _write_synced(path, raw)
            for folder in folders:
                sync_folder(folder)
        except OSError as error:
            raise StoreError(f"a large payload cannot be written: {error}") from error

    def read(self, place: Place, name: str) -> bytes | None:
        """Return a file's bytes, or None when it is not there.

        Raises:
            StoreError: It is there and cannot be read.
        """
        return read_file(self._file(place, name))

    def size_bytes(self, place: Place, name: str) -> int | None:
        """Return a file's size, or None when it is not there."""
        try:
            return self._file(place, name).stat(follow_symlinks=False).st_size
        except OSError:
            return None

    def remove(self, files: Sequence[tuple[Place, str]]) -> None:
        """Remove files, and the folders of runs that are empty then; gone ones are no error."""
        for place, name in files:
            path = self._file(place, name)
            with contextlib.suppress(OSError):
                path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def remove_runs(self, workflow_ids: Sequence[str]) -> None:
        """Remove all files of runs that are not there any more."""
        for workflow_id in workflow_ids:
            shutil.rmtree(self._run(workflow_id), ignore_errors=True)

    def walk(self) -> Iterator[Found]:
        """Give every file, folder by folder; those that vanish meanwhile are passed over."""
        for group in list_entries(self.path):
            if len(group.name) != 2:
                continue
            for run in list_entries(Path(group.path)):
                if _RUN.fullmatch(run.name):
                    yield from _files(run)

    def _run(self, workflow_id: str) -> Path:
        assert _RUN.fullmatch(workflow_id), f"an id is a UUID: {workflow_id!r}"
        # The last digits of an id are random, the first are the time.
        return self.path / workflow_id[-2:] / workflow_id

    def _file(self, place: Place, name: str) -> Path:
        return self._run(place.workflow_id) / f"{place.seq}-{place.part}-{name}"


def make_folder(folder: Path) -> list[Path]:
    """Make a folder; return those that got a new entry by that, which have to be synced."""
    if folder.is_dir():
        return []
    made = make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    return [*made, folder.parent]


def read_file(path: Path) -> bytes | None:
    """Return a file's bytes, or None when it is not there; a link is not followed.

    Raises:
        StoreError: It is there and cannot be read.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"file {path.name!r} cannot be read: {error.strerror}") from error


def _write_synced(path: Path, raw: bytes) -> None:
    with os.fdopen(os.open(path, _NEW, 0o600), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def list_entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Return what is in a folder by name; nothing when it is not there, or cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:  # it is not there yet, or not any more
        return []


def _files(run: "os.DirEntry[str]") -> Iterator[Found]:
    for entry in list_entries(Path(run.path)):
        named = _FILE.fullmatch(entry.name)
        if named is None:
            continue
        with contextlib.suppress(OSError):
            changed_at_ms = entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
            place = Place(run.name, int(named[1]), named[2])
            yield Found(place, named[3], changed_at_ms)
