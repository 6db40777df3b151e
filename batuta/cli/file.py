"""Reading JSON files: definitions of workflows and tasks, and the input of a run."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batuta.cli.exit import complain
from batuta.model.error import InvalidError, NotFoundError


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """Definitions as they stand in the files, task definitions apart from workflows."""

    workflows: list[dict[str, Any]]
    tasks: list[dict[str, Any]]


class _NoDefinitionError(InvalidError):
    """A document holds something else than definitions."""


def read_definitions(paths: Sequence[Path]) -> Definitions:
    """Read every `.json` file of the paths; a file holds one definition or a list of them.

    What has `tasks` is a workflow definition, anything else with a name a task's.

    Raises:
        NotFoundError: A path does not exist, or a folder holds no JSON.
        InvalidError: A file is not JSON (with line and column), or holds something else.
    """
    workflows: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    for path in files_of(paths):
        for _, item in read_file(path, is_named=path in paths):
            (workflows if is_workflow(item) else tasks).append(item)
    return Definitions(workflows=workflows, tasks=tasks)


def is_workflow(definition: dict[str, Any]) -> bool:
    """Tell a workflow's definition from a task's: it has tasks, as a task's never has."""
    return "tasks" in definition


def read_file(path: Path, *, is_named: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the definitions of a file, each with where it stands: path, and number in a list.

    Args:
        is_named: The user named the file itself. One of a folder may hold something else.

    Raises:
        InvalidError: As ``read_definitions``.
    """
    try:
        yield from definitions_of(read_json(path), str(path))
    except InvalidError as error:
        if is_named or not isinstance(error, _NoDefinitionError):
            raise
        complain(f"warning: {path} in a folder holds no definition, left out")


def definitions_of(document: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the definitions of a document, one or a list, each with its place.

    Raises:
        InvalidError: It holds something else.
    """
    items = document if isinstance(document, list) else [document]
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise _NoDefinitionError(
                f"{where}: expected definitions, objects with a name, and found {_short(item)}"
            )
    for number, item in enumerate(items):
        yield f"{where}[{number}]" if isinstance(document, list) else where, item


def files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """Give the files that are named, and the `.json` files of folders, in order.

    Raises:
        NotFoundError: A folder holds none.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(path.rglob("*.json"))
        if not found:
            raise NotFoundError(f"folder {str(path)!r} holds no .json file")
        yield from found


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        NotFoundError: There is no such file.
        InvalidError: It cannot be read or is not JSON; the message has line and column.
    """
    try:
        return parse_json(path.read_text("utf-8-sig"), str(path))
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {str(path)!r}") from None
    except IsADirectoryError:
        raise InvalidError(f"{str(path)!r} is a folder; name a file") from None
    except UnicodeDecodeError as error:
        raise InvalidError(f"{path} is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}") from None


def parse_json(text: str, where: str) -> Any:
    """Read a JSON text; an error names `where`, line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidError(
            f"{where} is not JSON, line {error.lineno} column {error.colno}: {error.msg}"
        ) from None
    except RecursionError:
        raise InvalidError(f"{where} is nested too deeply to be read") from None


def read_input(arguments: Sequence[str]) -> dict[str, Any]:
    """Merge the `--input` arguments in order: `key=value`, a JSON object, or `@file`.

    A value that reads as JSON is that value, so `n=3` is a number; anything else is text.
    """
    merged: dict[str, Any] = {}
    for argument in arguments:
        if argument.startswith("@"):
            merged |= _object(read_json(Path(argument[1:])), argument)
        elif argument.lstrip().startswith("{"):
            merged |= _object(parse_json(argument, "--input"), argument)
        else:
            key, equals, value = argument.partition("=")
            if not equals or not key:
                raise InvalidError(
                    f"--input {argument!r} is neither key=value, nor a JSON object, nor @file"
                )
            merged[key] = _value(value)
    return merged


def _object(document: Any, argument: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidError(f"--input {argument!r} is {_short(document)}; an object is needed")
    return document


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
