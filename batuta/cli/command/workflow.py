"""`batuta workflow`: find runs, start them, look at them, and steer them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from batuta.cli.command.call import (
    Call,
    calls_server,
    confirm,
    env_file_option,
    input_option,
    json_text,
    server_option,
    yes_option,
)
from batuta.cli.help.complete import run_ids, workflow_names

LISTED = 20  # runs that are shown unless more are asked for: a screen

ids_argument = click.argument(
    "workflow_ids", metavar="ID...", nargs=-1, required=True, shell_complete=run_ids
)
_limit = click.option(
    "--limit", type=click.IntRange(1, 5_000), default=LISTED, help="How many.  [default: 20]"
)
_start = click.option("--start", type=click.IntRange(0), default=0, help="How many to pass over.")
_sort = click.option(
    "--sort", metavar="FIELD:DESC", help="Order, such as endTime:ASC.  [newest first]"
)


@click.group()
def workflow() -> None:
    """Find runs, start them, look at them, and steer them."""


@workflow.command("list")
@click.option("--name", help="Only runs of this workflow; * stands for any characters.")
@click.option("--status", "statuses", multiple=True, help="Only runs that stand so; repeatable.")
@click.option("--correlation-id", help="Only runs with this id of yours.")
@_limit
@_start
@_sort
@calls_server
def list_(
    call: Call,
    name: str | None,
    statuses: tuple[str, ...],
    correlation_id: str | None,
    **page: Any,
) -> None:
    """Show the newest runs."""
    clauses = [f"workflowType={_quote(name)}"] if name else []
    if statuses:
        clauses.append(f"status IN ({', '.join(_quote(word.upper()) for word in statuses)})")
    if correlation_id:
        clauses.append(f"correlationId={_quote(correlation_id)}")
    _show_page(call, " AND ".join(clauses), page)


@workflow.command()
@click.argument("query", default="")
@click.option("--free-text", metavar="WORDS", help="Part of an id, a name or a reason.")
@_limit
@_start
@_sort
@calls_server
def search(call: Call, query: str, free_text: str | None, **page: Any) -> None:
    """Find runs, with a QUERY such as "status=FAILED AND startTime>=2026-01-31".

    docs/reference/search.md has the fields and operators.
    """
    _show_page(call, query, page | {"freeText": free_text})


@workflow.command()
@click.argument("workflow_id", metavar="ID", shell_complete=run_ids)
@click.option("--no-tasks", is_flag=True, help="Without its tasks.")
@calls_server
def get(call: Call, workflow_id: str, no_tasks: bool) -> None:
    """Show a run with its tasks, input and output."""
    from batuta.cli.show.style import Style
    from batuta.cli.show.tree import headline, tree_lines
    from batuta.runtime.clock import wall_ms

    tasks = "false" if no_tasks else "true"
    run = call.client.get(f"{path_of(workflow_id)}?includeTasks={tasks}")
    style, now_ms = Style(), wall_ms()
    lines = [headline(run, now_ms, style)] if no_tasks else tree_lines(run, now_ms, style)
    payloads = [
        f"{style.paint(name, 'dim')} {json_text(run.get(name) or {})}"
        for name in ("input", "output")
    ]
    call.show(run, [*lines, *payloads])


@workflow.command()
@click.argument("workflow_id", metavar="ID", shell_complete=run_ids)
@click.option("--timeout", type=float, metavar="SECONDS", help="Watch no longer than this.")
@server_option
@env_file_option
def watch(
    workflow_id: str, timeout: float | None, server_url: str | None, env_file: Path | None
) -> int:
    """Show a run until it ends; the exit code says how, as that of `batuta run --watch`."""
    from batuta.cli.run import watch_run

    call = Call({"server_url": server_url}, env_file, "text")
    return int(watch_run(call.client, workflow_id, timeout))


@workflow.command()
@click.argument("name", shell_complete=workflow_names)
@input_option
@click.option("--version", type=int, help="Version of it.  [default: the latest]")
@click.option("--correlation-id", help="An id of your own for it.")
@click.option("--priority", type=click.IntRange(0, 99), help="0 to 99; higher is polled first.")
@calls_server
def start(
    call: Call,
    name: str,
    inputs: tuple[str, ...],
    version: int | None,
    correlation_id: str | None,
    priority: int | None,
) -> None:
    """Start a run of the registered workflow NAME and print its id."""
    from batuta.cli.file import read_input

    body = {
        "name": name,
        "input": read_input(inputs),
        "version": version,
        "correlationId": correlation_id,
        "priority": priority,
    }
    given = {key: value for key, value in body.items() if value is not None}
    workflow_id = str(call.client.post("/workflow", given))
    call.show({"workflowId": workflow_id}, [workflow_id])


@workflow.command()
@ids_argument
@calls_server
def pause(call: Call, workflow_ids: Sequence[str]) -> int:
    """Stop scheduling tasks; those in hand go on."""
    return call.each(
        workflow_ids, lambda one: call.client.put(f"{path_of(one)}/pause", None), "paused"
    )


@workflow.command()
@ids_argument
@calls_server
def resume(call: Call, workflow_ids: Sequence[str]) -> int:
    """Go on after a pause."""
    return call.each(
        workflow_ids, lambda one: call.client.put(f"{path_of(one)}/resume", None), "resumed"
    )


@workflow.command()
@ids_argument
@click.option("--reason", help="Kept with the run.")
@yes_option
@calls_server
def terminate(call: Call, workflow_ids: Sequence[str], reason: str | None, yes: bool) -> int:
    """End runs now."""
    confirm(f"End {some(workflow_ids)} now?", is_yes=yes)
    query = f"?{urlencode({'reason': reason})}" if reason else ""
    return call.each(
        workflow_ids, lambda one: call.client.delete(path_of(one) + query), "terminated"
    )


@workflow.command()
@ids_argument
@click.option("--resume-subworkflow-tasks", is_flag=True, help="Go on inside its sub-workflows.")
@calls_server
def retry(call: Call, workflow_ids: Sequence[str], resume_subworkflow_tasks: bool) -> int:
    """Try the failed tasks of ended runs again."""
    query = "?resumeSubworkflowTasks=true" if resume_subworkflow_tasks else ""
    return call.each(
        workflow_ids, lambda one: call.client.post(f"{path_of(one)}/retry{query}", None), "retried"
    )


def path_of(workflow_id: str) -> str:
    """Give a run's place below the API."""
    from batuta.cli.client import quoted

    return f"/workflow/{quoted(workflow_id)}"


def some(workflow_ids: Sequence[str]) -> str:
    """Word a question about runs."""
    return f"run {workflow_ids[0]}" if len(workflow_ids) == 1 else f"{len(workflow_ids)} runs"


def _quote(text: str) -> str:
    """Write a value of a query; a quote inside is doubled (docs/reference/search.md)."""
    return "'" + text.replace("'", "''") + "'"


def _show_page(call: Call, query: str, page: dict[str, Any]) -> None:
    from batuta.cli.show.style import Style, clean
    from batuta.cli.show.table import ago, table_lines
    from batuta.cli.show.tree import duration, one_line
    from batuta.runtime.clock import wall_ms

    wish = {"size": page.pop("limit"), "query": query} | page
    given = {name: value for name, value in wish.items() if value}
    found = call.client.get(f"/workflow/search-v2?{urlencode(given)}")
    now_ms, style = wall_ms(), Style()
    rows = [
        (
            run["workflowId"],
            clean(f"{run['workflowName']} v{run['workflowVersion']}"),
            run["status"],
            ago(run["createTime"], now_ms),
            duration(run["createTime"], run["endTime"], now_ms),
            one_line(run.get("reasonForIncompletion") or ""),
        )
        for run in found["results"]
    ]
    head = ("id", "workflow", "status", "started", "took", "reason")
    more = "at least " if found.get("totalHitsIsLowerBound") else ""
    shown = f"{len(rows)} of {more}{found['totalHits']} runs"
    call.show(found, [*table_lines(head, rows, style), style.paint(shown, "dim")])
