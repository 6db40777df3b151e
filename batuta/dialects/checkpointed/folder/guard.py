"""Whose code is run: only files that nobody but the operator could have put there."""

import os
import stat
from pathlib import Path

from batuta.model.error import InvalidError


def trusted_owners(root: Path) -> frozenset[int]:
    """Return who may own the files: ourselves, root, and whoever owns the workflows folder.

    The operator named that folder, and in a container its files are rarely the server's own.
    """
    own = os.getuid() if hasattr(os, "getuid") else 0  # Windows has no such owners
    return frozenset({own, 0, root.stat().st_uid})


def check_trusted(path: Path, root: Path, owners: frozenset[int]) -> None:
    """Refuse a file or folder that somebody else could have written.

    Raises:
        InvalidError: It leads out of ``root``, is somebody else's, or everybody may write it.
    """
    try:
        found = path.stat()
        is_inside = path.resolve().is_relative_to(root.resolve())
    except OSError as error:
        raise InvalidError(f"{path.name} cannot be read: {error.strerror}") from error
    if not is_inside:
        raise InvalidError(f"{path.name} leads out of the workflows folder; copy it instead")
    if found.st_uid not in owners:
        raise InvalidError(f"{path.name} belongs to user {found.st_uid}; use chown")
    if found.st_mode & stat.S_IWOTH:
        raise InvalidError(f"{path.name} may be written by everybody; use chmod o-w")
