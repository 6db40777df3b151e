"""What a command ends with: its exit code, and one clear line when it failed.

    0 done                      10 the run FAILED
    1 something unexpected      11 the run was TERMINATED
    2 wrong usage               12 the run TIMED_OUT
    3 server unreachable        13 the time of --timeout is over, and the run waits for a person
    4 denied                   124 the time of --timeout is over
    5 not found                130 interrupted
    6 conflict
    7 not valid

Data goes to standard output, everything else to standard error.
"""

import sys
from enum import IntEnum

from batuta.model.error import (
    BatutaError,
    BusyError,
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
)


class ExitCode(IntEnum):
    """How a command ended; docs/reference/cli.md explains each."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    UNREACHABLE = 3
    DENIED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    INVALID = 7
    RUN_FAILED = 10
    RUN_TERMINATED = 11
    RUN_TIMED_OUT = 12
    WAITS_FOR_HUMAN = 13
    WAIT_TIMEOUT = 124
    INTERRUPTED = 130


RUN_CODES = {
    "COMPLETED": ExitCode.DONE,
    "FAILED": ExitCode.RUN_FAILED,
    "TERMINATED": ExitCode.RUN_TERMINATED,
    "TIMED_OUT": ExitCode.RUN_TIMED_OUT,
}

_ERROR_CODES: tuple[tuple[type[BatutaError], ExitCode], ...] = (
    (NotFoundError, ExitCode.NOT_FOUND),
    (InvalidError, ExitCode.INVALID),
    (ConflictError, ExitCode.CONFLICT),
    (DeniedError, ExitCode.DENIED),
    (BusyError, ExitCode.UNREACHABLE),
)


class UnreachableError(BusyError):
    """There is no server at the address, or it does not answer."""

    code = "UNREACHABLE"


def code_of(error: BatutaError) -> ExitCode:
    """Give the exit code of an error."""
    return next((code for kind, code in _ERROR_CODES if isinstance(error, kind)), ExitCode(1))


def complain(message: str) -> None:
    """Write one line for people to standard error."""
    print(f"batuta: {message}", file=sys.stderr)
