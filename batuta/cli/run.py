"""`batuta run`: register a definition if needed, start a run of it, watch it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from batuta.cli.client import Client, quoted
from batuta.cli.exit import RUN_CODES, ExitCode, complain
from batuta.cli.file import Definitions, read_definitions, read_input
from batuta.cli.settings import read_settings
from batuta.cli.show.watch import watch
from batuta.model.error import InvalidError, NotFoundError

# Causes that stand beside what is really waited for: a join for its branches, a run for its child.
_BEYOND_PEOPLE = frozenset({"JOIN_WAITS", "LOOP_PASS", "DAG_OPEN", "CHILD_RUNS", "RUN_LIMIT"})


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
    return watch_run(client, workflow_id, timeout_s) if is_watched else ExitCode.DONE


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


def watch_run(client: Client, workflow_id: str, timeout_s: float | None) -> ExitCode:
    """Show a run until it ends, print its output, and say by the code how it ended.

    Ctrl-C, or the end of the time, leaves the run as it is. When the time is over and all that the
    run waits for is a person, the code says that.
    """
    try:
        run = watch(client, workflow_id, timeout_s)
    except KeyboardInterrupt:
        server = f" --server {client.base}"
        complain("no longer watching; the run goes on")
        complain(f"watch it again: batuta workflow watch {workflow_id}{server}")
        complain(f"end it: batuta workflow terminate {workflow_id}{server}")
        return ExitCode.INTERRUPTED
    if run is None:
        is_human = _waits_for_people(client, workflow_id)
        what = ", and waits for a person" if is_human else ""
        complain(f"run {workflow_id} has not ended within {timeout_s:g} s; it goes on{what}")
        return ExitCode.WAITS_FOR_HUMAN if is_human else ExitCode.WAIT_TIMEOUT
    print(json.dumps(run.get("output") or {}, indent=2, ensure_ascii=False))
    code = RUN_CODES.get(run["status"], ExitCode.UNEXPECTED)
    if code is not ExitCode.DONE:
        reason = run.get("reasonForIncompletion") or "no reason given"
        complain(f"run {workflow_id} ended {run['status']}: {reason}")
    return code


def _waits_for_people(client: Client, workflow_id: str) -> bool:
    """Tell whether open human tasks are all that holds a run up, its sub-workflows' too."""
    why = found_at(client, f"/workflow/{quoted(workflow_id)}/why")
    codes = set(_codes((why or {}).get("causes") or [])) - _BEYOND_PEOPLE
    return codes == {"HUMAN_OPEN"}


def _codes(causes: Sequence[dict[str, Any]]) -> Iterator[str]:
    for cause in causes:
        yield cause["code"]
        yield from _codes(cause.get("causes") or [])
