"""Registering the definitions of files, and writing registered ones to files."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batuta.cli.client import Client, quoted
from batuta.cli.exit import ExitCode, UnreachableError, code_of, complain
from batuta.cli.file import files_of, is_workflow, read_file
from batuta.cli.run import found_at, is_within
from batuta.model.error import BatutaError, InvalidError

# Said by the server about when it stored a definition; no part of what an author wrote.
_STORED_KEYS = frozenset({"createTime", "updateTime", "createdBy", "updatedBy"})


class Applied(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a definition: `result` is created, updated, unchanged or invalid."""

    where: str
    kind: str
    name: str
    version: int | None
    result: str
    faults: list[str] = []


def apply_files(
    client: Client, paths: Sequence[Path], *, is_dry: bool
) -> tuple[list[Applied], ExitCode]:
    """Register what the server does not have, or has in another form; tasks first.

    A definition that is refused does not stop the others. Each fault is said with its file.

    Args:
        is_dry: Judge the workflows and tell what would be done, and do nothing.

    Returns:
        What became of each, and the exit code: that of the first failure.

    Raises:
        NotFoundError: A folder has no JSON.
    """
    code = ExitCode.DONE
    found: list[tuple[str, dict[str, Any]]] = []
    for path in files_of(paths):
        try:
            found += read_file(path, is_named=path in paths)
        except BatutaError as error:
            complain(error.message)
            code = code or code_of(error)
    results = []
    for where, definition in sorted(found, key=lambda one: is_workflow(one[1])):
        is_run = is_workflow(definition)
        result, faults = "invalid", []
        try:
            result = _apply(client, definition, is_run=is_run, is_dry=is_dry)
        except UnreachableError:
            raise
        except BatutaError as error:
            code = code or code_of(error)
            faults = _faults(error)
            for fault in faults:
                complain(f"{where}: {definition['name']}: {fault}")
        results.append(
            Applied(
                where=where,
                kind="workflow" if is_run else "task",
                name=definition["name"],
                version=_version(definition) if is_run else None,
                result=result,
                faults=faults,
            )
        )
    return results, code


def export_files(client: Client, folder: Path) -> list[Path]:
    """Write every definition to a file of its own, as it would be applied again.

    Raises:
        OSError: A file cannot be written.
    """
    written = []
    for kind, definitions in registered(client).items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for definition in definitions:
            version = f".v{_version(definition)}" if kind == "workflows" else ""
            # a name may hold what no file name may
            path = folder / kind / f"{quoted(definition['name'])}{version}.json"
            text = json.dumps(authored(definition), indent=2, ensure_ascii=False)
            path.write_text(text + "\n", "utf-8")
            written.append(path)
    return written


def registered(client: Client) -> dict[str, list[dict[str, Any]]]:
    """Read all definitions, as `workflows` and `tasks`, each by name."""
    workflows = client.get("/metadata/workflow")
    tasks = client.get("/metadata/taskdefs")
    return {"workflows": workflows, "tasks": sorted(tasks, key=lambda one: str(one["name"]))}


def authored(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a definition without what the server says about its storing."""
    return {key: value for key, value in definition.items() if key not in _STORED_KEYS}


def _apply(client: Client, definition: dict[str, Any], *, is_run: bool, is_dry: bool) -> str:
    name = quoted(definition["name"])
    path = f"/metadata/taskdefs/{name}"
    if is_run:
        path = f"/metadata/workflow/{name}?version={_version(definition)}"
    found = found_at(client, path)
    if found is not None and is_within(authored(definition), found):
        return "unchanged"
    if is_run and is_dry:
        client.post("/metadata/workflow/validate", definition)
    elif is_run:
        client.post("/metadata/workflow?overwrite=true", definition)
    elif not is_dry:
        client.post("/metadata/taskdefs", [definition])
    return "created" if found is None else "updated"


def _version(definition: dict[str, Any]) -> int:
    version = definition.get("version")
    return version if isinstance(version, int) and version > 0 else 1


def _faults(error: BatutaError) -> list[str]:
    return list(_fault_texts(error)) or [error.message]


def _fault_texts(error: BatutaError) -> Iterator[str]:
    for fault in error.faults if isinstance(error, InvalidError) else ():
        yield f"{fault.path}: {fault.message}"
