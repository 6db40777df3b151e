"""What a process that stays up needs: its log, its loop, and whether it can start at all."""

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from batuta.config import Settings
from batuta.model.error import ConflictError, InvalidError


def set_up_log(level: str) -> None:
    """Log to standard error: time, level, where, what."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    if level == "info":
        # its lines of start and stop say what ours say
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run until `main` ends, on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        asyncio.run(main)
    else:
        uvloop.run(main)


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken, before anything else is started.

    Raises:
        ConflictError: Another process listens there.
        InvalidError: The address cannot be listened at.
    """
    try:
        _try_port(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"port {port} at {host} is in use; stop what listens there, "
                "or give another port with --port"
            ) from error
        raise InvalidError(f"cannot listen at {host} port {port}: {error.strerror}") from error


def next_free_port(host: str, port: int) -> int:
    """Give `port`, or the next one that is free.

    Raises:
        ConflictError: None of the twenty after it is free.
    """
    for candidate in range(port, min(port + 20, 65_536)):
        try:
            _try_port(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise InvalidError(f"cannot listen at {host}: {error.strerror}") from error
        else:
            return candidate
    raise ConflictError(f"port {port} at {host} and the next are in use; give one with --port")


def prepare_database(settings: Settings) -> None:
    """Make the folder of a SQLite file, and see that it can be written.

    Raises:
        InvalidError: It cannot; names the folder.
    """
    if "://" in settings.db or settings.db == ":memory:":
        return
    folder = Path(settings.db).expanduser().absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".batuta-{Path(settings.db).name}.probe"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidError(
            f"folder {str(folder)!r} cannot hold the database: {error.strerror}; "
            "give a file elsewhere with --db"
        ) from error


def _try_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host.strip("[]"), port))
