"""A file of JSON lines: what is published is seen with `tail -f`, and no broker is needed."""

import asyncio
import os
from collections.abc import Sequence
from io import RawIOBase
from pathlib import Path

from batuta.sinks.base import Record, envelope

FILES_MAX = 5  # put aside, besides the one that is written
TAIL_BYTES = 65_536  # read at a time when looking for the last whole line


class FileSink:
    """Appends each record as a line ``{"id", "key", "event"}`` and syncs each delivery.

    From ``bytes_max`` on the file becomes ``<name>.1``, that one ``<name>.2``, and so on.
    """

    name = "file"

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._file: RawIOBase | None = None

    async def open(self) -> None:
        """Open the file; a line that a crash has left unfinished is cut off."""
        await asyncio.to_thread(self._open)

    async def deliver(self, records: Sequence[Record]) -> None:
        """Append the records and sync."""
        lines = b"".join(envelope(record) + b"\n" for record in records)
        await asyncio.to_thread(self._append, lines)

    async def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            await asyncio.to_thread(file.close)

    def _open(self) -> RawIOBase:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not buffered: an append that failed leaves nothing behind that comes later.
        self._file = file = self._path.open("a+b", buffering=0)
        self._cut(file)
        _sync_folder(self._path.parent)
        return file

    def _append(self, lines: bytes) -> None:
        file = self._file
        assert file is not None, "a sink is opened before it is given records"
        if file.tell() and file.tell() + len(lines) > self._bytes_max:
            self._put_aside(file)
            file = self._open()
        view = memoryview(lines)
        while view:
            view = view[file.write(view) or 0 :]
        os.fsync(file.fileno())

    def _cut(self, file: RawIOBase) -> None:
        """Cut off what follows the last whole line: nobody was told that it is there."""
        end = file.seek(0, os.SEEK_END)
        place = end
        while place:
            first = max(place - TAIL_BYTES, 0)
            file.seek(first)
            found = (file.read(place - first) or b"").rfind(b"\n")
            if found >= 0:
                place = first + found + 1
                break
            place = first
        if place < end:
            file.truncate(place)
        file.seek(place)

    def _put_aside(self, file: RawIOBase) -> None:
        file.close()
        self._file = None
        for number in range(FILES_MAX, 0, -1):
            older = self._aside(number - 1) if number > 1 else self._path
            if older.exists():
                older.replace(self._aside(number))

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system has that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
