"""Colour and signs, where the terminal has them."""

import os
import re
import sys
from typing import TextIO

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}

_SIGNS = {
    "COMPLETED": ("✓", "green"),
    "COMPLETED_WITH_ERRORS": ("✓", "yellow"),
    "SKIPPED": ("-", "dim"),
    "FAILED": ("✗", "red"),
    "FAILED_WITH_TERMINAL_ERROR": ("✗", "red"),
    "TIMED_OUT": ("✗", "red"),
    "CANCELED": ("✗", "yellow"),
    "TERMINATED": ("✗", "yellow"),
    "IN_PROGRESS": ("●", "cyan"),
    "RUNNING": ("●", "cyan"),
    "PAUSED": ("●", "yellow"),
    "SCHEDULED": ("○", "cyan"),
}
_NOT_YET = ("·", "dim")
_PLAIN = {"✓": "+", "✗": "x", "●": "*", "○": "o", "·": "."}
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and the end of a line
_PLAIN_LINES = str.maketrans({"├": "|", "└": "`", "─": "-", "│": "|"})


class Style:
    """What a stream can show: colour, more than ASCII, and repainting.

    Obeys NO_COLOR, FORCE_COLOR and TERM=dumb, https://no-color.org.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        out = stream or sys.stdout
        is_dumb = os.environ.get("TERM") == "dumb"
        self.is_live = out.isatty() and not is_dumb
        self.has_colour = bool(os.environ.get("FORCE_COLOR")) or self.is_live
        if os.environ.get("NO_COLOR"):
            self.has_colour = False
        self.has_signs = (out.encoding or "").lower().replace("-", "") == "utf8"

    def paint(self, text: str, colour: str) -> str:
        """Colour a text, where that is wanted."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.has_colour else text

    def sign(self, status: str | None) -> str:
        """Give the sign of a status; None is "not scheduled yet"."""
        sign, colour = _NOT_YET if status is None else _SIGNS.get(status, ("?", "dim"))
        return self.paint(sign if self.has_signs else _PLAIN.get(sign, sign), colour)

    def status(self, word: str) -> str:
        """Colour a status word."""
        return self.paint(word, _SIGNS.get(word, _NOT_YET)[1])

    def lines(self, text: str) -> str:
        """Give the lines of a tree, in ASCII where there is no more."""
        return text if self.has_signs else text.translate(_PLAIN_LINES)


def clean(text: str) -> str:
    """Return a text of others without what would steer the terminal: escapes, colours, bells."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
