"""Standard output that may be closed, full, or read by nobody any more."""

import contextlib
import errno
import io
import os
import select
import sys
import threading

_HAS_POLL = hasattr(select, "poll")  # not on Windows


def prepare() -> None:
    """Make both streams usable: closed ones take and drop everything."""
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal cannot show is no error


def _nowhere() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8")


def pause(seconds: float) -> None:
    """Wait, unless whoever reads our output goes away meanwhile.

    Raises:
        BrokenPipeError: There is nobody to write for.
    """
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # captured by a test, or replaced
        output = -1
    if not _HAS_POLL or output < 0:
        threading.Event().wait(seconds)
        return
    poller = select.poll()
    poller.register(output, 0)  # nothing but what is always told: errors and hang-ups
    if poller.poll(seconds * 1_000):
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output any more")


def abandon() -> None:
    """Stop writing: nobody reads us, and the interpreter's own flush at its end is no error."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
