"""Rows and times as people read them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from batuta.cli.show.style import Style

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> list[str]:
    """Draw a table; a column is as wide as its widest cell, the last one as it comes."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head) - 1)]

    def line(cells: Sequence[str]) -> str:
        padded = [f"{cell:{width}}" for cell, width in zip(cells, widths, strict=False)]
        return "  ".join([*padded, cells[-1]]).rstrip()

    return [style.paint(line(head), "dim"), *map(line, rows)]


def ago(at_ms: int | None, now_ms: int) -> str:
    """Say how long ago something was; 0 or None is never."""
    if not at_ms:
        return "never"
    past_ms = max(0, now_ms - at_ms)
    for unit_ms, unit in _UNITS:
        if past_ms >= unit_ms:
            return f"{past_ms // unit_ms} {unit} ago"
    return "now"


def clock_text(at_ms: int) -> str:
    """Say when something was, in this machine's time zone: 2026-01-31 12:00:00.123."""
    at = datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S}.{at_ms % 1_000:03}"
