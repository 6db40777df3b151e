"""`batuta why`, `batuta status` and `batuta logs`: what is going on at a server."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from batuta.cli.command.call import (
    Call,
    calls_server,
    env_file_option,
    output_option,
    server_option,
)
from batuta.cli.command.workflow import path_of
from batuta.cli.help.complete import run_ids

_STEERING = re.compile(r"(?:PUT|POST) /api/workflow/(\S+)/(resume|retry)\b")
_REPORTING = re.compile(r"POST /api/tasks/\S+/COMPLETED, with the output as a JSON object")


@click.command()
@click.argument("workflow_id", metavar="RUN", shell_complete=run_ids)
@calls_server
def why(call: Call, workflow_id: str) -> None:
    """Say why a run is not moving, and what to do."""
    from batuta.cli.show.style import Style

    found = call.client.get(f"{path_of(workflow_id)}/why")
    style = Style()
    status = f"{style.sign(found['status'])} {style.status(found['status'])}"
    summary = [] if found["causes"] else [found["summary"]]
    more = [f"and {found['omitted']} more like these"] if found["omitted"] else []
    head = f"{status}  {style.paint(workflow_id, 'dim')}"
    call.show(found, [head, *summary, *_causes(found["causes"], "", style), *more])


@click.command()
@server_option
@output_option
@env_file_option
def status(server_url: str | None, output: str, env_file: Path | None) -> int:
    """Show the server on one screen; the exit code is 0 only when all is well."""
    from batuta.cli.command.status import status_command

    return int(status_command({"server_url": server_url}, env_file, output))


@click.command()
@click.argument("workflow_id", metavar="[RUN]", default="", shell_complete=run_ids)
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
@calls_server
def logs(call: Call, workflow_id: str, follow: bool) -> None:
    """Show what the tasks of a run have logged; of the newest run unless RUN is named."""
    from batuta.cli.command.log import show_logs

    show_logs(call, workflow_id, is_following=follow)


def _causes(causes: list[dict[str, Any]], indent: str, style: Any) -> Iterator[str]:
    from batuta.cli.show.style import clean

    for cause in causes:
        yield f"{indent}- {clean(cause['message'])}"
        if cause.get("fix"):
            yield f"{indent}  {style.paint('do: ' + clean(_typed(cause)), 'cyan')}"
        yield from _causes(cause.get("causes") or [], indent + "  ", style)


def _typed(cause: dict[str, Any]) -> str:
    """Word what to do as commands; the server words it as calls, for whoever has only those."""
    fix = _STEERING.sub(r"batuta workflow \2 \1", cause["fix"])
    task_id = cause.get("taskId")
    if task_id is None:
        return fix
    return _REPORTING.sub(f"batuta task update {task_id} --status COMPLETED -d KEY=VALUE", fix)
