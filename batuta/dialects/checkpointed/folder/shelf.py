"""All workflows there are, as their folders have them now.

Whoever asks looks first whether a folder has changed, which costs a few `stat`s; a loop does so
too, so that a broken folder is told of without being asked, and steps need not look. Code is run
in a thread of its own: an import that takes long delays who asked for the list, and nobody else.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batuta.dialects.checkpointed.folder.config import CONFIG
from batuta.dialects.checkpointed.folder.guard import check_trusted, trusted_owners
from batuta.dialects.checkpointed.folder.load import (
    CODE,
    Checks,
    Package,
    forget,
    load_checks,
    load_package,
)
from batuta.dialects.checkpointed.thread import StepTimeoutError, in_own_thread
from batuta.model.error import InvalidError
from batuta.runtime.clock import pause
from batuta.store.blob.folder import list_entries

FOLDERS_MAX = 1_000  # of one workflows folder
FILES_MAX = 1_000  # of one workflow that are looked at
DEPTH_MAX = 3  # folders within its folder
CHECKS = "conditions.py"  # in the workflows folder itself: resume conditions for all of them
LOOK_S = 2.0  # between two looks of the loop
RECENT_S = 2.5  # for which a step takes what the loop has seen
WAIT_S = 10.0  # for code that is being loaded; then what was there before is shown
LOAD_S = 60.0  # for all code that has to be loaded in one look
_ENDLESS = f"its code was not loaded after {LOAD_S:g} s; what it does at once belongs into a step"
_SKIPPED = ("_", ".")

_log = logging.getLogger(__name__)


class Fault(msgspec.Struct, frozen=True):
    """A folder or file that cannot be used, and why."""

    folder: str
    error: str


class _Held(msgspec.Struct, frozen=True):
    """A folder or file at one state: what came of it."""

    signature: str
    package: Package | None = None
    checks: Checks = {}
    fault: str = ""


class _Found(msgspec.Struct, frozen=True):
    packages: Mapping[str, Package] = {}
    checks: Checks = {}
    faults: tuple[Fault, ...] = ()


class Shelf:
    """The workflows of some folders; those of an earlier root win where ids are the same.

    Args:
        roots: The operator's folder first, then the one of what is built in.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._held: dict[Path, _Held] = {}
        self._found = _Found()
        self._told: frozenset[Fault] = frozenset()
        self._loading: list[tuple[Path, str]] = []  # the one in hand, with its signature
        self._lock = asyncio.Lock()
        self._asked_count = 0
        self._covered_count = 0
        self._state: tuple[str, ...] | None = None
        self._looked_at_s = -RECENT_S

    async def packages(self) -> Mapping[str, Package]:
        """Return the workflows by id, those that are not listed too."""
        await self.look()
        return self._found.packages

    async def current(self, workflow_id: str) -> Package | None:
        """Return a workflow as its folder is now; others are looked at only where it has changed.

        A start should not cost what there are folders.
        """
        found = self._found.packages.get(workflow_id)
        for path, held in self._held.items():
            if found is not None and held.package is found:
                if _signature(path, _files(path)) == held.signature:
                    return found
                break
        return (await self.packages()).get(workflow_id)

    async def package(self, workflow_id: str) -> Package | None:
        """Return a workflow as it was a moment ago; looks only where there was none."""
        if asyncio.get_running_loop().time() - self._looked_at_s < RECENT_S:
            found = self._found.packages.get(workflow_id)
            if found is not None:
                return found
        return (await self.packages()).get(workflow_id)

    @property
    def checks(self) -> Checks:
        """The resume conditions for all workflows, by type of error."""
        return self._found.checks

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What cannot be used."""
        return self._found.faults

    async def look(self) -> None:
        """Bring the list up to date with what the folders hold by now."""
        self._asked_count += 1
        looking = asyncio.create_task(self._cover(self._asked_count))
        # Not wait_for, which forgets that it was cancelled when the end comes that moment.
        done, _ = await asyncio.wait({looking}, timeout=WAIT_S)
        if done:
            looking.result()
        else:
            _log.warning("the workflows are still being loaded; the list may be an old one")

    async def run(self, beat: Callable[[], None]) -> None:
        """Look again and again, for ever."""
        while True:
            beat()
            await self.look()
            await pause(LOOK_S)

    async def _cover(self, number: int) -> None:
        """Look, unless a look has begun since this one was asked for."""
        async with self._lock:
            if self._covered_count >= number:
                return
            covers = self._asked_count
            await self._look()
            self._covered_count = covers

    async def _look(self) -> None:
        state = await asyncio.to_thread(self._signatures)
        if state != self._state:
            await self._load()
            self._state = state
        self._looked_at_s = asyncio.get_running_loop().time()

    async def _load(self) -> None:
        self._loading = []
        try:
            call = in_own_thread(self._read, limit_s=LOAD_S, stop=asyncio.Event(), name="workflows")
            self._found, self._held = await call
        except StepTimeoutError:
            if not self._loading:  # the disk was too slow, not somebody's code
                raise
            # That folder is left as it is until it changes; the others are loaded without it.
            [(path, signature)] = self._loading
            self._held = {**self._held, path: _Held(signature, fault=_ENDLESS)}
            await self._load()
            return
        faults = frozenset(self._found.faults)
        for fault in sorted(faults - self._told, key=lambda one: one.folder):
            _log.warning("workflow folder %s cannot be used: %s", fault.folder, fault.error)
        self._told = faults

    def _signatures(self) -> tuple[str, ...]:
        """Return what is another one after any change of any folder."""
        roots = [_signature(root, ()) for root in self._roots]
        paths = [path for root in self._roots for path in _entries(root, [])]
        return (*roots, *(_signature(path, _files(path)) for path in paths))

    def _read(self) -> tuple[_Found, dict[Path, _Held]]:
        packages: dict[str, Package] = {}
        checks: dict[str, tuple[Callable[..., Any], ...]] = {}
        faults: list[Fault] = []
        seen: dict[Path, _Held] = {}
        for root in self._roots:
            own: dict[str, str] = {}
            for path in _entries(root, faults):
                held = seen[path] = self._at(path, root)
                if held.fault:
                    faults.append(Fault(path.name, held.fault))
                for error_type, found in held.checks.items():
                    checks[error_type] = (*checks.get(error_type, ()), *found)
                package = held.package
                if package is None:
                    continue
                first = own.setdefault(package.workflow_id, path.name)
                if first != path.name:
                    told = f"id {package.workflow_id!r} is that of folder {first!r} too"
                    faults.append(Fault(path.name, told))
                else:
                    packages.setdefault(package.workflow_id, package)
        for path in self._held.keys() - seen.keys():
            forget(path)
        return _Found(packages, checks, tuple(faults)), seen

    def _at(self, path: Path, root: Path) -> _Held:
        """Return what a folder or file holds: what it held before, unless it has changed."""
        files = _files(path)
        signature = _signature(path, files)
        before = self._held.get(path)
        if before is not None and before.signature == signature:
            return before
        forget(path)
        self._loading = [(path, signature)]
        try:
            owners = trusted_owners(root)
            for one in (root, path, *files):
                check_trusted(one, root, owners)
            if path.suffix == ".py":
                return _Held(signature, checks=load_checks(path, signature))
            return _Held(signature, package=load_package(path, signature))
        except InvalidError as error:
            return _Held(signature, fault=error.message)
        except OSError as error:
            return _Held(signature, fault=f"it cannot be read: {error.strerror}")
        finally:
            self._loading = []


def _entries(root: Path, faults: list[Fault]) -> Iterator[Path]:
    """Yield the folders that are workflows, and the files with checks, by name."""
    try:
        found = sorted(root.iterdir())
    except OSError:
        return  # there need not be one
    candidates = [path for path in found if not path.name.startswith(_SKIPPED) and _is_one(path)]
    if len(candidates) > FOLDERS_MAX:
        faults.append(Fault(root.name, f"more than {FOLDERS_MAX} folders; the others are not read"))
    yield from candidates[:FOLDERS_MAX]


def _is_one(path: Path) -> bool:
    """Say whether it is meant to be a workflow, or to hold checks."""
    if path.name == CHECKS:
        return path.is_file()
    return path.is_dir() and ((path / CONFIG).exists() or (path / CODE).exists())


def _files(path: Path) -> list[Path]:
    """Return the files whose change is a change of the workflow."""
    return sorted(itertools.islice(_code(path, DEPTH_MAX), FILES_MAX)) if path.is_dir() else []


def _code(folder: Path, depth: int) -> Iterator[Path]:
    """Yield what a workflow may import or read; not what hides, as a venv or a cache does."""
    for entry in list_entries(folder):
        if entry.name.startswith("."):
            continue
        if entry.name.endswith((".py", ".json")):
            yield Path(entry.path)
        elif depth and not entry.name.startswith("_") and _is_own(entry):
            yield from _code(Path(entry.path), depth - 1)


def _is_own(entry: "os.DirEntry[str]") -> bool:
    """Say whether it is a folder of the author's, and no virtual environment."""
    is_folder = entry.is_dir(follow_symlinks=False)
    return is_folder and not Path(entry.path, "pyvenv.cfg").exists()


def _signature(path: Path, files: Sequence[Path]) -> str:
    """Return a text that is another one after any change, from `stat` alone."""
    parts = []
    for one in (path, *files):
        try:
            found = one.stat()
        except OSError as error:
            parts.append(f"{one.name} {error.errno}")
        else:
            told = f"{one} {found.st_mode} {found.st_uid} {found.st_ino}"
            # of a folder the time changes with what Python puts there
            content = "" if one.is_dir() else f" {found.st_mtime_ns} {found.st_size}"
            parts.append(told + content)
    return "\n".join(parts)
