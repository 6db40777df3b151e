"""Durations and instants of WAIT tasks (rule c.9, row WAIT)."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batuta.core.definition.durations import (
    DURATION_SECONDS_MAX,
    DURATION_TEXT_MAX,
    parse_duration_ms,
    parse_until_ms,
    parse_wait_time_ms,
)
from batuta.model.error import InvalidError

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("1 days 2 hours 3 minutes 4 seconds", DAY_MS + 7_384_000),
        ("1d2h3m4s", DAY_MS + 7_384_000),
        ("1 DAY  2 Hrs 3 mins 4 secs", DAY_MS + 7_384_000),
        ("90s", 90_000),
        (" 5 minutes ", 300_000),
        ("0 seconds", 0),
        (f"{DURATION_SECONDS_MAX}s", DURATION_SECONDS_MAX * 1000),
    ],
)
def test_a_duration_is_read(text: str, expected_ms: int) -> None:
    """Units d/h/m/s and long forms, in that order, case-insensitive."""
    assert parse_duration_ms(text) == expected_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "5",
        "5 5s",
        "4 seconds 3 minutes",
        "1.5 hours",
        "-3s",
        "3 weeks",
        "1h 1h",
        f"{DURATION_SECONDS_MAX + 1}s",
        "9" * 18 + "d",
        "9" * 50 + "d",
        " " * DURATION_TEXT_MAX + "1s",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The unit is mandatory."""
    with pytest.raises(InvalidError) as caught:
        parse_duration_ms(text)
    assert [fault.path for fault in caught.value.faults] == ["duration"]


def utc_ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("2026-02-03", utc_ms(2026, 2, 3)),
        ("2026-02-03 04:05", utc_ms(2026, 2, 3, 4, 5)),
        ("2026-02-03 04:05 UTC", utc_ms(2026, 2, 3, 4, 5)),
        ("2026-02-03 04:05 GMT+5:30", utc_ms(2026, 2, 2, 22, 35)),
        ("2026-02-03 04:05 GMT-8", utc_ms(2026, 2, 3, 12, 5)),
        ("2026-02-03 04:05 GMT-18:00", utc_ms(2026, 2, 3, 22, 5)),
        ("2026-02-03 04:05 +0100", utc_ms(2026, 2, 3, 3, 5)),
        ("2026-02-03 04:05 Europe/Berlin", utc_ms(2026, 2, 3, 3, 5)),
        ("2026-07-03 04:05 Europe/Berlin", utc_ms(2026, 7, 3, 2, 5)),
        ("2026-02-03 04:05 PST", utc_ms(2026, 2, 3, 12, 5)),
        ("1969-12-31 23:59", -60_000),
    ],
)
def test_an_instant_is_read(text: str, expected_ms: int) -> None:
    """`yyyy-MM-dd HH:mm`, `.. z` or `yyyy-MM-dd`, in the server's zone, which is UTC."""
    assert parse_until_ms(text) == expected_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-13-01",
        "2026-02-30",
        "2026-02-03T04:05",
        "2026-02-03 25:00",
        "2026-02-03 04:05 Nowhere/City",
        "2026-02-03 04:05 Europe",
        "2026-02-03 04:05 ../../etc/passwd",
        "2026-02-03 04:05 /etc/passwd",
        "2026-02-03 04:05 zone.tab",
        "2026-02-03 04:05 GMT+19:00",
        "2026-02-03 04:05 a\x00b",
        "0000-01-01",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_until_ms(text)
    assert [fault.path for fault in caught.value.faults] == ["until"]


def test_a_wait_time_is_seconds_as_number_or_text() -> None:
    """Contract S2.2: WAIT with `waitTime: "3600"` is the approval deadline."""
    assert parse_wait_time_ms("3600") == 3_600_000
    assert parse_wait_time_ms(3600) == 3_600_000


@pytest.mark.parametrize("value", ["1h", "", "-1", -1, True, 1.5, None, [], 10**30])
def test_what_is_no_wait_time_is_refused(value: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_wait_time_ms(value)
    assert [fault.path for fault in caught.value.faults] == ["waitTime"]


@given(st.text(alphabet="0123456789 dhmsayours-:+GMTUCZ/.", max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration_ms, parse_until_ms, parse_wait_time_ms):
        with contextlib.suppress(InvalidError):
            assert isinstance(parse(text), int)
