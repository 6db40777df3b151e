"""`batuta run`: register a definition if needed, start a run of it, watch it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batuta.cli.client import Client, quoted
from batuta.cli.exit import RUN_CODES, ExitCode, complain
from batuta.cli.file import Definitions, read_definitions, read_input
from batuta.cli.settings import read_settings
from batuta.cli.show.watch import watch
from batuta.model.error import InvalidError, NotFoundError


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run."""

    definition: str
    """A file, or the name of a registered workflow."""
    inputs: Sequence[str] = ()
    version: int | None = None
    correlation_id: str | None = None


def run_command(
    flags: Mapping[str, Any],
    env_file: Path | None,
    request: Request,
    *,
    is_watched: bool,
    timeout_s: float | None,
) -> ExitCode:
    """Start a run and print its id; watched, print its output too, and say how it ended."""
    settings = read_settings(flags, env_file).settings
    workflow_input = read_input(request.inputs)
    path = Path(request.definition)
    has_file = path.exists() or path.suffix == ".json"
    definitions = read_definitions([path]) if has_file else None
    client = Client(settings.server_url)
    name, version = request.definition, request.version
    if definitions is not None:
        name, version = _only_workflow(definitions, str(path))
        register(client, definitions)
    workflow_id = start(client, name, version, workflow_input, request.correlation_id)
    print(workflow_id, flush=True)
    return _watched(client, workflow_id, timeout_s) if is_watched else ExitCode.DONE


def register(client: Client, definitions: Definitions) -> None:
    """Store the definitions that the server does not have, or has in another form."""
    new_tasks = [item for item in definitions.tasks if not _has_task(client, item)]
    if new_tasks:
        client.post("/metadata/taskdefs", new_tasks)
    new_workflows = [item for item in definitions.workflows if not _has_workflow(client, item)]
    if new_workflows:
        client.put("/metadata/workflow", new_workflows)


def start(
    client: Client,
    name: str,
    version: int | None,
    workflow_input: dict[str, Any],
    correlation_id: str | None = None,
) -> str:
    """Start a run and give its id; it is on disk then.

    Raises:
        NotFoundError: No such workflow is registered.
    """
    body: dict[str, Any] = {"name": name, "input": workflow_input}
    if version is not None:
        body["version"] = version
    if correlation_id is not None:
        body["correlationId"] = correlation_id
    try:
        return str(client.post("/workflow", body))
    except NotFoundError as error:
        raise NotFoundError(
            f"there is no file {name!r}, and the server at {client.base} says: {error.message}"
        ) from error


def _only_workflow(definitions: Definitions, where: str) -> tuple[str, int]:
    if len(definitions.workflows) != 1:
        names = ", ".join(item["name"] for item in definitions.workflows) or "none"
        raise InvalidError(f"{where} has to hold one workflow definition to run; it has {names}")
    definition = definitions.workflows[0]
    return definition["name"], definition.get("version") or 1


def _has_task(client: Client, definition: dict[str, Any]) -> bool:
    return is_within(
        definition, found_at(client, f"/metadata/taskdefs/{quoted(definition['name'])}")
    )


def _has_workflow(client: Client, definition: dict[str, Any]) -> bool:
    version = definition.get("version") or 1
    path = f"/metadata/workflow/{quoted(definition['name'])}?version={version}"
    return is_within(definition, found_at(client, path))


def found_at(client: Client, path: str) -> Any:
    """Read something; None where there is nothing."""
    try:
        return client.get(path)
    except NotFoundError:
        return None


def is_within(wanted: Any, found: Any) -> bool:
    """Tell whether `found` says all that `wanted` says; the server adds defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            is_within(value, found.get(key)) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(wanted) == len(found)
            and all(map(is_within, wanted, found))
        )
    return bool(wanted == found)


def _watched(client: Client, workflow_id: str, timeout_s: float | None) -> ExitCode:
    try:
        run = watch(client, workflow_id, timeout_s)
    except KeyboardInterrupt:
        address = f"{client.base}/workflow/{workflow_id}"
        complain(f"no longer watching; the run goes on. See it: curl {address}")
        complain(f"end it: curl -X DELETE {address}")
        return ExitCode.INTERRUPTED
    if run is None:
        complain(f"run {workflow_id} has not ended within {timeout_s:g} s; it goes on")
        return ExitCode.WAIT_TIMEOUT
    print(json.dumps(run.get("output") or {}, indent=2, ensure_ascii=False))
    code = RUN_CODES.get(run["status"], ExitCode.UNEXPECTED)
    if code is not ExitCode.DONE:
        reason = run.get("reasonForIncompletion") or "no reason given"
        complain(f"run {workflow_id} ended {run['status']}: {reason}")
    return code
