"""How long a failed step waits, and for what. Pure. Source: S4.4."""

import math
from typing import Any

from batuta.dialects.checkpointed.author.error import RetryableError

RATE_LIMIT = "rate_limit"
QUOTA = "quota_exceeded"
TIMEOUT = "timeout"
INVALID_KEY = "invalid_key"
NO_KEY = "no_api_key"
GENERIC = "generic_api_error"
UNKNOWN_S = 180.0
WAIT_S_MAX = 30 * 86_400.0  # of a step's own retry_after; longer than any quota's period
ERROR_CHARACTERS_MAX = 10_000
WORD_CHARACTERS_MAX = 200  # of a type, a model or a provider
EXCEEDED = "Maximum retry attempts exceeded"

WAITS_S = {
    QUOTA: 300.0,
    RATE_LIMIT: 60.0,
    TIMEOUT: 30.0,
    INVALID_KEY: 120.0,
    NO_KEY: 120.0,
    GENERIC: 180.0,
    "api_error": 180.0,
}
_GUESSES = (
    (("quota", "limit", "credits"), QUOTA),
    (("timeout", "timed out"), TIMEOUT),
    (("api key", "authentication", "unauthorized"), INVALID_KEY),
)


def guess_type(message: str) -> str:
    """Guess from a plain exception's words what kind of failure it was."""
    text = message.lower()
    for words, error_type in _GUESSES:
        if any(word in text for word in words):
            return error_type
    return GENERIC


def wait_s(error_type: str, retry_after: Any = None) -> float:
    """Return how long a step waits after a failure; its own ``retry_after`` goes first."""
    is_number = isinstance(retry_after, int | float) and not isinstance(retry_after, bool)
    if is_number and math.isfinite(retry_after) and retry_after >= 0:
        return min(float(retry_after), WAIT_S_MAX)
    return WAITS_S.get(error_type, UNKNOWN_S)


def told(error: Exception) -> dict[str, Any]:
    """Describe a failure that may pass: what is kept of it with the attempt."""
    if isinstance(error, RetryableError):
        error_type = _word(error.error_type) or GENERIC
        found: dict[str, Any] = {
            "error": text_of(error) or "the step gave no reason",
            "error_type": error_type,
            "model": _word(error.model),
            "provider": _word(error.provider),
            "wait_s": wait_s(error_type, error.retry_after),
        }
        if error.retry_after is not None:
            found["retry_after"] = found["wait_s"]
        return found
    message = text_of(error) or type(error).__name__
    error_type = TIMEOUT if isinstance(error, TimeoutError) else guess_type(message)
    return {"error": message, "error_type": error_type, "wait_s": wait_s(error_type)}


def text_of(error: Exception) -> str:
    """Return an exception's words, cut to size and as a store takes them."""
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001  of a class that somebody else wrote
        text = f"{type(error).__name__}, whose text cannot be made: {type(fault).__name__}"
    return clean(text)[:ERROR_CHARACTERS_MAX]


def clean(text: str) -> str:
    """Return a text without halves of surrogate pairs, which no store takes."""
    return text.encode("utf-8", "replace").decode()


def _word(value: Any) -> str | None:
    return None if value is None else clean(str(value))[:WORD_CHARACTERS_MAX]
