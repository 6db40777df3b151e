"""`batuta why`, `batuta status` and `batuta logs`: what is going on at a server."""

from collections.abc import Iterator
from typing import Any

import click

from batuta.cli.command.call import Call, calls_server
from batuta.cli.command.workflow import path_of


@click.command()
@click.argument("workflow_id", metavar="RUN")
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


def _causes(causes: list[dict[str, Any]], indent: str, style: Any) -> Iterator[str]:
    for cause in causes:
        yield f"{indent}- {cause['message']}"
        if cause.get("fix"):
            yield f"{indent}  {style.paint('do: ' + cause['fix'], 'cyan')}"
        yield from _causes(cause.get("causes") or [], indent + "  ", style)
