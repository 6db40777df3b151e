"""What `batuta def export` is asked for: which definitions, for whom, and where to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from batuta.cli.apply import authored, registered
from batuta.cli.client import Client, quoted
from batuta.cli.exit import complain
from batuta.cli.export.plain import Exported, exported
from batuta.cli.file import files_of, is_workflow, read_file, read_json
from batuta.core.definition.normalize import to_document
from batuta.dialects.dag.definition import read_workflow
from batuta.dialects.dag.lower import TASKS, lowered

_WORKER = "batuta worker --dialect dag --server URL"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for: files and folders, or registered names, or everything registered."""

    target: str
    paths: Sequence[Path] = ()
    names: Sequence[str] = ()
    version: int | None = None


def export_for(client: Client, wish: Wish) -> Exported:
    """Make the definitions that are named plain, and say on stderr what there is to know.

    Raises:
        InvalidError: One of them has no plain form; nothing is exported.
        NotFoundError: A file or a registered name does not exist.
    """
    if wish.paths and wish.names:
        raise click.UsageError("Give files or --name, not both.")
    workflows, tasks = _found(client, wish)
    made = exported(workflows, tasks)
    notes = [*made.notes, *_notes(made, wish.target)]
    for note in notes:
        complain(f"note: {note}")
    return msgspec.structs.replace(made, notes=notes)


def write(made: Exported, folder: Path) -> list[Path]:
    """Write each definition to a file of its own, as `batuta def apply` reads it.

    Raises:
        OSError: A file cannot be written.
    """
    written = []
    for kind, definitions in (("workflows", made.workflows), ("tasks", made.tasks)):
        for definition in definitions:
            version = f".v{definition.get('version') or 1}" if kind == "workflows" else ""
            # a name may hold what no file name may
            path = folder / kind / f"{quoted(definition['name'])}{version}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(definition, indent=2, ensure_ascii=False) + "\n", "utf-8")
            written.append(path)
    return written


def _found(client: Client, wish: Wish) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if wish.paths:
        return _of_files(wish.paths)
    if not wish.names:
        every = registered(client)
        return [authored(one) for one in every["workflows"]], [
            authored(one) for one in every["tasks"]
        ]
    query = f"?version={wish.version}" if wish.version else ""
    workflows = [
        authored(client.get(f"/metadata/workflow/{quoted(name)}{query}")) for name in wish.names
    ]
    used = {name for one in workflows for name in _task_names(one.get("tasks") or [])}
    known = registered(client)["tasks"]
    return workflows, [authored(one) for one in known if one["name"] in used]


def _of_files(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    workflows: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    for path in files_of(paths):
        document = read_json(path)
        if isinstance(document, dict) and ("workflow" in document or "nodes" in document):
            workflows.append(_of_graph(document))
            continue
        for _, one in read_file(path, is_named=path in paths):
            (workflows if is_workflow(one) else tasks).append(one)
    return workflows, tasks


def _of_graph(document: dict[str, Any]) -> dict[str, Any]:
    """Return the definition of a workflow of nodes and edges, as the graph engine has it."""
    if "workflow" not in document:
        document = {"name": document.get("name"), "workflow": document}
    return to_document(lowered(read_workflow(document, "exported", now_ms=0, before=None)))


def _task_names(tasks: list[dict[str, Any]]) -> set[str]:
    """Return the names of tasks at any depth."""
    found: set[str] = set()
    waiting: list[Any] = [*tasks]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "taskReferenceName" in value:
                found.add(str(value.get("name")))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found


def _notes(made: Exported, target: str) -> list[str]:
    names = {name for one in made.workflows for name in _task_names(one["tasks"])}
    notes = []
    if TASKS in names:
        notes.append(f"nodes of the graph engine need their worker there: {_WORKER}")
    if target == "orkes":
        notes.append(
            "an Orkes cluster wants the token of an application with them: X-Authorization"
        )
    return notes
