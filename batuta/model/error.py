"""Everything this package raises on purpose.

BatutaError
├── NotFoundError        no such workflow, task or definition        -> HTTP 404
├── InvalidError         the caller's input breaks a rule            -> HTTP 400
├── ConflictError        the state does not allow it, or moved on    -> HTTP 409
├── DeniedError          the caller may not                          -> HTTP 403
├── BusyError            too much work at once; come back later      -> HTTP 429
├── ClosingError         the server is draining                      -> HTTP 503
├── StoreError           the database failed; nothing was promised   -> HTTP 500
└── UnreadableError      what is stored is damaged; waiting is vain  -> HTTP 500

``api/errors.py`` is the one place that turns them into responses.
"""

from collections.abc import Sequence
from typing import Any

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with an input: where, what, and the value found there."""

    path: str
    message: str
    value: Any = None


class BatutaError(Exception):
    """Base of all errors a caller may catch."""

    code = "BATUTA"
    is_retryable = False

    @property
    def message(self) -> str:
        """The text for people: what, which, why, what to do."""
        return str(self.args[0]) if self.args else self.code


class NotFoundError(BatutaError):
    """The thing named does not exist."""

    code = "NOT_FOUND"


FAULTS_MAX = 500  # more than anybody reads; a definition has 10,000 nodes at most


class InvalidError(BatutaError):
    """The request can never succeed as it is; ``faults`` holds every reason found.

    Of more than FAULTS_MAX the first, and how many more: an answer is not made large by a request
    that is small.
    """

    code = "INVALID"

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)
        more = len(faults) - FAULTS_MAX
        if more > 1:  # with one it may be such a line already, of an error that this one passes on
            said = Fault("", f"and {more} more like these")
            self.faults = (*self.faults[:FAULTS_MAX], said)


class ConflictError(BatutaError):
    """The state does not allow the operation, or someone else committed first."""

    code = "CONFLICT"


class DeniedError(BatutaError):
    """The caller is not allowed to do this."""

    code = "DENIED"


class BusyError(BatutaError):
    """Too much work is waiting; try again after ``retry_after_ms``."""

    code = "BUSY"
    is_retryable = True

    def __init__(self, message: str, *, retry_after_ms: int = 1_000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class ClosingError(BusyError):
    """The server is draining and accepts no new work."""

    code = "CLOSING"


class StoreError(BatutaError):
    """The database failed; the command is not known to be committed."""

    code = "STORE"
    is_retryable = True


class UnreadableError(BatutaError):
    """A stored row cannot be read; others can, and asking again would give the same."""

    code = "UNREADABLE"
