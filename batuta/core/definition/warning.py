"""What lint finds: a definition that may be registered, and will not do what it looks like."""

from enum import StrEnum

import msgspec


class Code(StrEnum):
    """The kinds of warnings. Programs branch on these words, so that they never change."""

    UNKNOWN_REFERENCE = "UNKNOWN_REFERENCE"
    UNREACHABLE = "UNREACHABLE"
    JOIN_MISSES_BRANCH = "JOIN_MISSES_BRANCH"
    RETRY_EXCEEDS_LIMIT = "RETRY_EXCEEDS_LIMIT"
    WAIT_EXCEEDS_LIMIT = "WAIT_EXCEEDS_LIMIT"
    SECRET_IN_CLEAR = "SECRET_IN_CLEAR"  # noqa: S105  the name of a warning
    TIMEOUT_WITHOUT_RETRY = "TIMEOUT_WITHOUT_RETRY"
    SWITCH_WITHOUT_DEFAULT = "SWITCH_WITHOUT_DEFAULT"
    NOBODY_POLLS = "NOBODY_POLLS"
    SINK_NOT_CONFIGURED = "SINK_NOT_CONFIGURED"


class Warned(msgspec.Struct, frozen=True):
    """One warning; ``path`` as in validationErrors: ``tasks[0].forkTasks[1][0].joinOn``."""

    path: str
    code: Code
    message: str
