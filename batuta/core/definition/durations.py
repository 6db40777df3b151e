"""Durations and instants as people write them in a WAIT task.

Source: semantics c.9, row WAIT; conductor DateTimeUtils.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batuta.model.error import Fault, InvalidError

# A century: far above any real wait, and small enough that adding it to an instant never overflows.
DURATION_SECONDS_MAX = 100 * 366 * 86_400

# A longer text is no duration; the bound keeps the pattern below from searching long.
DURATION_TEXT_MAX = 100  # characters

_DURATION = re.compile(
    r" ?(?:(\d{1,18}) ?(?:days?|d))?"
    r" ?(?:(\d{1,18}) ?(?:hours?|hrs?|h))?"
    r" ?(?:(\d{1,18}) ?(?:minutes?|mins?|m))?"
    r" ?(?:(\d{1,18}) ?(?:seconds?|secs?|s))?",
    re.IGNORECASE | re.ASCII,
)
_UNIT_SECONDS = (86_400, 3_600, 60, 1)

_UNTIL = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?: +(\d{1,2}):(\d{1,2})(?: +(\S.{0,63}))?)?", re.ASCII
)
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d{1,2})(?::?(\d{2}))?", re.ASCII)
# Java reads these as zones with daylight saving; the zone data base has no such names.
_JAVA_ZONES = {
    "Z": "UTC",
    "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles",
    "MDT": "America/Denver",
    "CST": "America/Chicago",
    "CDT": "America/Chicago",
    "EDT": "America/New_York",
    "BST": "Europe/London",
    "CEST": "Europe/Paris",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
}


def parse_duration_ms(text: str) -> int:
    """Read a duration such as `1 days 2 hours 3 minutes 4 seconds` or `90s`.

    Days, hours, minutes and seconds stand in that order; each may be missing, but not all; a
    number without a unit is refused. Case does not matter.

    Returns:
        Milliseconds, 0 to DURATION_SECONDS_MAX * 1000.

    Raises:
        InvalidError: The text is no duration, or above the limit.
    """
    found = _DURATION.fullmatch(" ".join(text[: DURATION_TEXT_MAX + 1].split()))
    if len(text) > DURATION_TEXT_MAX or not found or not any(found.groups()):
        raise _invalid(
            "duration",
            f"{_shown(text)} is no duration; write for instance '2 hours 30 minutes'",
            text,
        )
    numbers = [int(group or 0) for group in found.groups()]
    return _bounded_ms(
        sum(n * unit for n, unit in zip(numbers, _UNIT_SECONDS, strict=True)), "duration", text
    )


def parse_wait_time_ms(value: Any) -> int:
    """Read the `waitTime` of a WAIT task: whole seconds, as a number or as text.

    Returns:
        Milliseconds, 0 to DURATION_SECONDS_MAX * 1000.

    Raises:
        InvalidError: The value is no such number, or above the limit.

    Source: contract S2.2 (the K1 approval gate).
    """
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,18}\s*", value, re.ASCII):
        return _bounded_ms(int(value), "waitTime", value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return _bounded_ms(value, "waitTime", value)
    raise _invalid(
        "waitTime", f"{_shown(value)} is no number of seconds; write for instance 3600", value
    )


def parse_until_ms(text: str) -> int:
    """Read an instant: `yyyy-MM-dd`, `yyyy-MM-dd HH:mm` or `yyyy-MM-dd HH:mm <zone>`.

    Without a zone the time is UTC. A zone is a name of the zone data base, an offset such as
    `GMT+5:30`, or a common abbreviation such as `PST`. A time that daylight saving repeats is its
    first occurrence.

    Returns:
        Unix milliseconds; negative before 1970.

    Raises:
        InvalidError: The text is no such instant or the zone is unknown.
    """
    found = _UNTIL.fullmatch(text.strip())
    if not found:
        raise _invalid(
            "until",
            f"{_shown(text)} is no time; write 'yyyy-MM-dd', 'yyyy-MM-dd HH:mm' or add a zone",
            text,
        )
    year, month, day, hour, minute = (int(group or 0) for group in found.groups()[:5])
    zone = _zone(found.group(6), text)
    try:
        instant = datetime(year, month, day, hour, minute, tzinfo=zone)
        since = instant - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _invalid(
            "until", f"{_shown(text)} is no time of the calendar: {error}", text
        ) from error
    return since // timedelta(milliseconds=1)


def fault_of(parse: Callable[[Any], int], value: Any, path: str) -> Fault | None:
    """Say what is wrong with a text that `parse` should read, or nothing when it can."""
    try:
        parse(value)
    except InvalidError as error:
        return Fault(path, str(error), value)
    return None


def _zone(name: str | None, text: str) -> tzinfo:
    if name is None:
        return UTC
    offset = _OFFSET.fullmatch(name)
    if offset:
        sign, hours, minutes = offset.groups()
        delta = timedelta(hours=int(hours), minutes=int(minutes or 0))
        # Real offsets end at +14:00; datetime itself allows less than a day.
        if delta <= timedelta(hours=18):
            return timezone(-delta if sign == "-" else delta)
    try:
        return ZoneInfo(_JAVA_ZONES.get(name, name))
    # A name of a directory or of another file is an OSError, one with '..' a ValueError.
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _invalid(
            "until",
            f"{_shown(text)} has the unknown time zone {_shown(name)}; write for instance 'UTC'",
            text,
        ) from error


def _bounded_ms(seconds: int, path: str, value: Any) -> int:
    if seconds > DURATION_SECONDS_MAX:
        raise _invalid(
            path,
            f"{_shown(value)} is longer than {DURATION_SECONDS_MAX} seconds; write less",
            value,
        )
    return seconds * 1000


def _shown(value: Any) -> str:
    """Repeat a value of the author's, but no more of it than he needs to find it."""
    text = repr(value)
    return text if len(text) <= DURATION_TEXT_MAX else f"{text[:DURATION_TEXT_MAX]}..."


def _invalid(path: str, message: str, value: Any) -> InvalidError:
    return InvalidError(message, [Fault(path, message, value)])
