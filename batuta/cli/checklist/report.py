"""What is told of a check: a line for each item, a table, a file to sign."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batuta import __version__
from batuta.cli.checklist.item import Result, State
from batuta.cli.show.style import Style
from batuta.cli.show.table import table_lines

STATES: tuple[State, ...] = ("passed", "failed", "absent", "host", "by hand")
WORDS: dict[State, str] = {
    "passed": "passed",
    "failed": "FAILED",
    "absent": "not in this version",
    "host": "this machine",
    "by hand": "to be signed",
}
_SIGNS: dict[State, str | None] = {
    "passed": "COMPLETED",
    "failed": "FAILED",
    "absent": "PAUSED",
    "host": "SKIPPED",
    "by hand": None,
}


def result_line(result: Result, style: Style) -> str:
    """Tell one item."""
    said = f": {result.text}" if result.text else ""
    word = "" if result.state in {"passed", "by hand"} else f" [{WORDS[result.state]}]"
    sign = style.sign(_SIGNS[result.state])
    return f"{sign} {result.item.id:7} {result.item.text}{word}{said}"


def result_lines(results: Sequence[Result]) -> Iterator[str]:
    """Tell each item."""
    style = Style()
    return (result_line(one, style) for one in results)


def summary_lines(results: Sequence[Result], style: Style) -> Iterator[str]:
    """Tell each phase in a row, and all of them together."""
    phases = list(dict.fromkeys(one.item.phase for one in results))
    rows = [_row(phase, [one for one in results if one.item.phase == phase]) for phase in phases]
    head = ["phase", *(WORDS[state] for state in STATES)]
    yield from table_lines(head, [*rows, _row("all", results)], style)
    count = counts(results)
    checked = count["passed"] + count["failed"] + count["absent"]
    yield (
        f"{count['passed']} of {checked} items that a machine can check are passed, "
        f"{count['failed']} failed, {count['absent']} are not in this version; "
        f"{count['by hand']} are to be signed by hand"
    )


def counts(results: Sequence[Result]) -> dict[State, int]:
    """Count the results by state."""
    found = Counter(one.state for one in results)
    return {state: found[state] for state in STATES}


def write_report(path: Path, results: Sequence[Result]) -> None:
    """Write the results: as JSON into a file of that name, else as Markdown."""
    content = _json(results) if path.suffix == ".json" else _markdown(results).encode()
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def document(results: Sequence[Result]) -> dict[str, Any]:
    """Give the results as data."""
    return {
        "version": __version__,
        "counts": counts(results),
        "items": [
            {**msgspec.to_builtins(one.item), "state": one.state, "seen": one.text}
            for one in results
        ],
    }


def _json(results: Sequence[Result]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document(results)), indent=2) + b"\n"


def _markdown(results: Sequence[Result]) -> str:
    lines = [f"# Verification of firmware pipelines, Batuta {__version__}", ""]
    lines += [f"- {WORDS[state]}: {count}" for state, count in counts(results).items()]
    phase = ""
    for one in results:
        if one.item.phase != phase:
            phase = one.item.phase
            lines += ["", f"## {phase}", "", "| | item | result | seen |", "|---|---|---|---|"]
        seen = one.text.replace("|", "\\|") or ("signed:" if one.state == "by hand" else "")
        lines.append(f"| {one.item.id} | {one.item.text} | {WORDS[one.state]} | {seen} |")
    return "\n".join(lines) + "\n"


def _row(name: str, results: Sequence[Result]) -> list[str]:
    return [name, *(str(count or "") for count in counts(results).values())]
