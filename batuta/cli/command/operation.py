"""The commands of `batuta workflow` that run an ended run again, skip a task, or delete runs."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import click

from batuta.cli.command.call import Call, calls_server, confirm, input_option, yes_option
from batuta.cli.command.workflow import ids_argument, path_of, some, workflow
from batuta.cli.help.complete import run_ids
from batuta.model.error import NotFoundError

__all__ = ["workflow"]  # with all its commands

_task_input = click.option(
    "--task-input",
    "task_inputs",
    multiple=True,
    metavar="KEY=VALUE|JSON|@FILE",
    help="Input of that task; repeatable.",
)


@workflow.command()
@ids_argument
@click.option("--use-latest", is_flag=True, help="With the definition as it is registered now.")
@calls_server
def restart(call: Call, workflow_ids: Sequence[str], use_latest: bool) -> int:
    """Run ended runs again from their beginning."""
    query = "?useLatestDefinitions=true" if use_latest else ""
    return call.each(
        workflow_ids,
        lambda one: call.client.post(f"{path_of(one)}/restart{query}", None),
        "restarted",
    )


@workflow.command()
@click.argument("workflow_id", metavar="ID", shell_complete=run_ids)
@click.option("--from-task", metavar="TASK", help="Its id or reference name.  [the beginning]")
@_task_input
@input_option
@click.option("--correlation-id", help="An id of your own for it from now on.")
@calls_server
def rerun(
    call: Call,
    workflow_id: str,
    from_task: str | None,
    task_inputs: tuple[str, ...],
    inputs: tuple[str, ...],
    correlation_id: str | None,
) -> None:
    """Run an ended run again from one of its tasks; what was done before stays."""
    from batuta.cli.file import read_input

    if task_inputs and not from_task:
        raise click.UsageError("--task-input is for the task that --from-task names.")
    body = {
        "reRunFromTaskId": _task_id(call, workflow_id, from_task) if from_task else None,
        "taskInput": read_input(task_inputs) if task_inputs else None,
        "workflowInput": read_input(inputs) if inputs else None,
        "correlationId": correlation_id,
    }
    given = {key: value for key, value in body.items() if value is not None}
    call.client.post(f"{path_of(workflow_id)}/rerun", given)
    call.show({"id": workflow_id, "done": "rerun"}, [f"rerun {workflow_id}"])


@workflow.command("skip-task")
@click.argument("workflow_id", metavar="ID", shell_complete=run_ids)
@click.argument("reference", metavar="REFERENCE")
@_task_input
@click.option(
    "--task-output",
    "task_outputs",
    multiple=True,
    metavar="KEY=VALUE|JSON|@FILE",
    help="What later tasks see as its output; repeatable.",
)
@calls_server
def skip_task(
    call: Call,
    workflow_id: str,
    reference: str,
    task_inputs: tuple[str, ...],
    task_outputs: tuple[str, ...],
) -> None:
    """Step over a task that the run has not come to yet."""
    from batuta.cli.client import quoted
    from batuta.cli.file import read_input

    body: dict[str, Any] = {}
    if task_inputs:
        body["taskInput"] = read_input(task_inputs)
    if task_outputs:
        body["taskOutput"] = read_input(task_outputs)
    call.client.put(f"{path_of(workflow_id)}/skiptask/{quoted(reference)}", body)
    call.show(
        {"id": workflow_id, "reference": reference, "done": "skipped"},
        [f"run {workflow_id} skips {reference}"],
    )


@workflow.command()
@ids_argument
@click.option("--terminate", is_flag=True, help="Runs that have not ended too; they are ended.")
@click.option("--reason", help="With --terminate: why; their parents show it.")
@yes_option
@calls_server
def delete(
    call: Call, workflow_ids: Sequence[str], terminate: bool, reason: str | None, yes: bool
) -> int:
    """Delete runs that have ended, with all they have."""
    confirm(f"Delete {some(workflow_ids)} for ever?", is_yes=yes)
    action = "terminate-remove" if terminate else "remove"
    query = f"?{urlencode({'reason': reason})}" if reason and terminate else ""
    return call.each(
        workflow_ids, lambda one: call.client.delete(f"{path_of(one)}/{action}{query}"), "deleted"
    )


def _task_id(call: Call, workflow_id: str, given: str) -> str:
    """Find the task of a run by its id, or the latest attempt of a reference name."""
    tasks = call.client.get(path_of(workflow_id))["tasks"]
    for task in reversed(tasks):
        if given in (task["taskId"], task["referenceTaskName"]):
            return str(task["taskId"])
    names = ", ".join(dict.fromkeys(task["referenceTaskName"] for task in tasks)) or "none"
    raise NotFoundError(f"run {workflow_id!r} has no task {given!r}; its tasks are: {names}")
