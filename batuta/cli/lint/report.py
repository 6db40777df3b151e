"""Finding the definitions that are to be judged, and telling what was found."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from batuta.cli.client import Client, quoted
from batuta.cli.exit import ExitCode, UnreachableError, code_of, complain
from batuta.cli.file import definitions_of, files_of, parse_json, read_file
from batuta.cli.lint.judge import Judged, Known
from batuta.cli.show.style import Style, clean
from batuta.model.error import BatutaError, InvalidError

STDIN = "-"


def is_file(target: str) -> bool:
    """Tell a file, a folder or standard input from the name of a registered workflow."""
    return target == STDIN or target.endswith(".json") or "/" in target or Path(target).exists()


def gather(
    targets: Sequence[str], client: Client, version: int | None
) -> tuple[list[tuple[str, dict[str, Any]]], ExitCode]:
    """Give the definitions that are named, each with its place; what cannot be read is said.

    Returns:
        Them, and the exit code: that of the first failure.

    Raises:
        UnreachableError: A registered definition was asked for, and no server answers.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    code = ExitCode.DONE
    for target in targets:
        try:
            found += _of_target(target, client, version)
        except UnreachableError:
            raise
        except BatutaError as error:
            complain(error.message)
            code = code or code_of(error)
    return found, code


def known_by(client: Client) -> Known:
    """Ask a server what it knows: its task definitions, and what has been polled there."""
    polls = client.get("/tasks/queue/polldata/all")
    return Known(
        tasks=client.get("/metadata/taskdefs"),
        polled=frozenset(str(poll["queueName"]) for poll in polls),
    )


def lines(judged: Sequence[Judged], style: Style) -> Iterator[str]:
    """Tell each finding in a line: file, definition, path, code, message; a sum at the end."""
    for one in judged:
        version = f" v{one.version}" if one.version else ""
        whose = clean(f"{one.where}: {one.name}{version}")
        for place in (*one.faults, *one.warnings):
            colour = "red" if place.code == "FAULT" else "yellow"
            at = f"{clean(place.path)}: " if place.path else ""
            yield f"{whose}: {at}{style.paint(place.code, colour)}: {clean(place.message)}"
    faults = sum(len(one.faults) for one in judged)
    warnings = sum(len(one.warnings) for one in judged)
    counts = (len(judged), "definition"), (faults, "fault"), (warnings, "warning")
    text = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
    yield style.paint(text, "dim")


def _of_target(
    target: str, client: Client, version: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    if target == STDIN:
        text = sys.stdin.buffer.read()
        try:
            document = parse_json(text.decode("utf-8-sig"), "standard input")
        except UnicodeDecodeError as error:
            raise InvalidError(f"standard input is not UTF-8 at byte {error.start}") from None
        yield from definitions_of(document, "standard input")
    elif is_file(target):
        for path in files_of([Path(target)]):
            yield from read_file(path, is_named=path == Path(target))
    else:
        query = f"?version={version}" if version else ""
        yield client.base, client.get(f"/metadata/workflow/{quoted(target)}{query}")
