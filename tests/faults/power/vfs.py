"""A disk that can lose its power: writes count only once they are synced.

A VFS of SQLite over the real one. Each file has two states: what the processes see, which is the
real file, and what is on the platter, which changes with a sync alone. When the power goes, the
platter gets of the writes that were not synced a subset that a seed chooses: whole writes, some
sectors of a write, or nothing, in any order; and what was removed or cut without a sync may be
there again. What was synced is there, always. From then on every write and sync fails.

The first sync of a new log or journal is one of its folder as well, as SQLite's own VFS does it;
until then the removal of another file is not durable.
"""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

SECTOR_BYTES = 512  # what a disk writes whole or not at all
NAME = "power"

_Change = tuple[int, bytes | None]  # written at an offset; None: the file was cut there


class PowerLostError(apsw.IOError):
    """The machine is off."""


class Platter:
    """One file: what is durable, and what was done to it since, oldest first."""

    def __init__(self) -> None:
        self.durable: bytes | None = None  # None: there is no such file after a loss
        self.changes: list[_Change] = []

    def sync(self) -> None:
        """Make everything durable."""
        kept = bytearray(self.durable or b"")
        for change in self.changes:
            _apply(kept, change)
        self.durable, self.changes = bytes(kept), []

    def lose(self, chance: random.Random) -> bytes | None:
        """Return what is found when the power is back; None: no file."""
        is_there = self.durable is not None or chance.random() < 0.5
        if not is_there:
            return None
        kept = bytearray(self.durable or b"")
        # All, a beginning, or any: a lost tail is what recovery meets most.
        manner = chance.choice(("all", "none", "prefix", "any", "any"))
        length = chance.randint(0, len(self.changes))
        for number, change in enumerate(self.changes):
            match manner:
                case "all":
                    _apply(kept, change)
                case "prefix" if number < length:
                    _apply(kept, change)
                case "prefix" if number == length:
                    _apply_some(kept, change, chance)
                case "any" if chance.random() < 0.6:
                    _apply_some(kept, change, chance)
        return bytes(kept)


def _apply(kept: bytearray, change: _Change) -> None:
    offset, data = change
    if data is None:
        del kept[offset:]
        return
    kept.extend(bytes(max(offset - len(kept), 0)))
    kept[offset : offset + len(data)] = data


def _apply_some(kept: bytearray, change: _Change, chance: random.Random) -> None:
    """Apply a change, and one in three times only some of its sectors."""
    offset, data = change
    if data is None or chance.random() < 0.66:
        _apply(kept, change)
        return
    at = 0
    while at < len(data):
        size = min(SECTOR_BYTES - (offset + at) % SECTOR_BYTES, len(data) - at)
        if chance.random() < 0.5:
            _apply(kept, (offset + at, data[at : at + size]))
        at += size


class Disk:
    """The files of one folder, and when their power goes.

    Args:
        lies: Says of each sync whether it is passed over: a plant that the tests must find.
    """

    def __init__(self, folder: Path, *, lies: Callable[[], bool] = lambda: False) -> None:
        self.folder = folder
        self.is_off = False
        self.is_full = False  # nothing more can be written, until somebody makes room
        self.refused_writes = 0
        self.syncs = 0
        self.writes = 0
        self.lost_writes = 0  # those that were not synced when the power went
        self._lies = lies
        self._platters: dict[str, Platter] = {}
        self._removed: dict[str, Platter] = {}  # whose removal is not durable
        self._left: int | None = None  # writes and syncs until the power goes
        self._chance = random.Random(0)
        self._lock = threading.Lock()
        self.found: dict[str, bytes | None] = {}

    def fail_after(self, count: int, chance: random.Random) -> None:
        """Have the power go at the write or sync that comes after ``count`` others."""
        with self._lock:
            self._left, self._chance = count, chance

    def cut(self) -> None:
        """Have the power go now, unless it has gone."""
        with self._lock:
            if not self.is_off:
                self._go_off()

    def back(self) -> None:
        """Put what was on the platter into the folder, and switch on."""
        for path in self.folder.glob("*.db*"):
            if path.suffix == ".db-shm":
                path.unlink()  # memory of processes that are gone
        for name, data in self.found.items():
            path = self.folder / name
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(data)
        with self._lock:
            self._platters, self._removed = {}, {}
            for name, data in self.found.items():
                if data is not None:
                    self.platter(name).durable = data
            self.found, self.is_off, self._left = {}, False, None

    def platter(self, name: str) -> Platter:
        """Return the platter of a file."""
        return self._platters.setdefault(name, Platter())

    def change(self, name: str, change: _Change) -> None:
        """Note a write or a cut; raises PowerLostError when the machine is off."""
        with self._lock:
            self.writes += 1
            self._spend()
            if self.is_full:
                self.refused_writes += 1
                raise apsw.FullError("the disk is full")
            self.platter(name).changes.append(change)

    def sync(self, name: str) -> None:
        """Make a file durable; the power may go before or after it."""
        with self._lock:
            self.syncs += 1
            self._spend()
            if self._lies():
                return
            if self.platter(name).durable is None:
                self._removed.clear()
            self.platter(name).sync()

    def remove(self, name: str, *, is_synced: bool) -> None:
        """Remove a file; without a sync of its folder it may come back."""
        with self._lock:
            self._spend()
            removed = self._platters.pop(name, None)
            if is_synced:
                self._removed.clear()
            elif removed is not None and removed.durable is not None:
                self._removed[name] = removed

    def _spend(self) -> None:
        if self.is_off:
            raise PowerLostError("the power is off")
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._go_off()
                raise PowerLostError("the power is off")

    def _go_off(self) -> None:
        self.is_off = True
        for name, platter in self._removed.items():
            self.found[name] = platter.lose(self._chance) if self._chance.random() < 0.5 else None
        for name, platter in self._platters.items():
            self.lost_writes += len(platter.changes)
            if platter.durable is not None or self.found.get(name) is None:
                self.found[name] = platter.lose(self._chance)


class PowerFile(apsw.VFSFile):
    """An open file of a disk."""

    def __init__(self, base: str, name: Any, flags: list[int], disk: Disk | None) -> None:
        super().__init__(base, name, flags)
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  SQLite's names
        if self._disk is not None:
            self._disk.change(self._name, (offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._disk is not None:
            self._disk.change(self._name, (newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk is None:
            super().xSync(flags)
        else:
            self._disk.sync(self._name)  # the real file need not be synced: no power is lost


class PowerVFS(apsw.VFS):
    """SQLite's way to files, while it is the default one; all other folders are as ever."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(NAME, "unix", makedefault=True)

    def _of(self, name: str) -> Disk | None:
        return self._disk if Path(name).parent == self._disk.folder else None

    def xOpen(self, name: Any, flags: list[int]) -> PowerFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return PowerFile("unix", name, flags, self._of(path) if path else None)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802
        disk = self._of(filename)
        if disk is not None:
            disk.remove(Path(filename).name, is_synced=syncdir)
        super().xDelete(filename, syncdir)
