"""One call of a node: what it is given, how it ends, and how it reads its config."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from batuta.workers.media.ai import Services
from batuta.workers.media.nodes import NODE_TYPES

TEXT_CHARACTERS_MAX = 1_000_000  # of a prompt or a text to split; no provider takes more
WAIT_MS_MAX = 600_000  # that a provider may ask us to wait
SECONDS_MAX = 3_600.0  # that a film or a piece of music may be asked to last
_NUMBER = r"(\d{1,9}(?:\.\d{1,6})?)"
_SECONDS = re.compile(
    rf"{_NUMBER}\s*(s|secs?|seconds?|ms|milliseconds?|m|mins?|minutes?)?", re.IGNORECASE
)
_CLOCK = re.compile(r"(?:(\d{1,2}):)?(\d{1,3}):(\d{1,2}(?:\.\d{1,6})?)")


class NodeError(Exception):
    """The node cannot be done, however often it is tried; the text says why and what to do."""


class TroubleError(Exception):
    """It may go well another time: a provider is busy or out of reach.

    ``wait_ms``: what the provider asks to wait; 0 when it does not say.
    """

    def __init__(self, message: str, wait_ms: int = 0) -> None:
        super().__init__(message)
        self.wait_ms = wait_ms


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The work goes on at a provider: ask again after ``wait_ms``, with ``state`` as it is now.

    ``state`` is kept with the task, so that a server that starts anew asks for the same work.
    """

    state: dict[str, Any]
    wait_ms: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call: of a node for its whole config, or for one element of its lists.

    ``state``: of the ``Waiting`` that this call gave last; empty at first.
    """

    node: str
    config: Mapping[str, Any]
    services: Services
    workflow_id: str = ""
    state: Mapping[str, Any] = {}
    previous: Sequence[Any] = ()

    def value(self, key: str) -> Any:
        """Return a config value; the node's default where it is empty."""
        given = self.config.get(key)
        return NODE_TYPES[self.node].config.get(key) if given in (None, "", []) else given

    def text(self, key: str) -> str:
        """Return a config value as a text; "" when there is none.

        Raises:
            NodeError: It is too long.
        """
        given = self.value(key)
        if given is None:
            return ""
        text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
        if len(text) > TEXT_CHARACTERS_MAX:
            raise NodeError(f"{key} is longer than {TEXT_CHARACTERS_MAX:,} characters")
        return text

    def number(self, key: str, *, least: float, most: float) -> float:
        """Return a config value as a number within its limits.

        Raises:
            NodeError: It is no number, or beyond them.
        """
        given = self.value(key)
        try:
            number = math.nan if isinstance(given, bool) else float(given)
        except (TypeError, ValueError):
            number = math.nan
        if not least <= number <= most:
            raise NodeError(f"{key} is {shown(given)}; allowed is {least:g} to {most:g}")
        return number

    def seconds(self, key: str) -> float:
        """Return a config value as seconds, see ``to_seconds``.

        Raises:
            NodeError: It is no time, or beyond SECONDS_MAX.
        """
        given = self.value(key)
        found = to_seconds(given)
        if found is None or not 0 < found <= SECONDS_MAX:
            raise NodeError(
                f"{key} is {shown(given)}; say it as 5, '5 seconds', '2 min' or '0:05', "
                f"up to {SECONDS_MAX:g} s"
            )
        return found


def to_seconds(given: Any) -> float | None:
    """Return a time as seconds: 5, "5", "5 seconds", "1.5 min", "250 ms", "1:30", "0:01:30"."""
    if isinstance(given, bool):
        return None
    if isinstance(given, int | float):
        return float(given) if math.isfinite(given) else None
    text = str(given or "").strip()
    if (clock := _CLOCK.fullmatch(text)) is not None:
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3_600 + int(minutes) * 60 + float(seconds)
    if (found := _SECONDS.fullmatch(text)) is None:
        return None
    unit = (found[2] or "s").lower()
    if unit.startswith(("ms", "milli")):
        return float(found[1]) / 1_000
    return float(found[1]) * (60 if unit.startswith("m") else 1)


def plain(number: float) -> int | float:
    """Return a number as people write it: 5 rather than 5.0."""
    return int(number) if number == int(number) else number


def shown(value: Any) -> str:
    """Return a value for an error, cut to 80 characters."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:80]}..."
