"""`batuta task` and `batuta queue`: single tasks, and what waits for workers."""

from collections.abc import Iterable
from typing import Any

import click

from batuta.cli.command.call import Call, calls_server, json_text

_STATUSES = ("IN_PROGRESS", "COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR")

_task_id = click.argument("task_id", metavar="TASK")


@click.group()
def task() -> None:
    """Look at a task and its log, or report on it in a worker's place."""


@click.group()
def queue() -> None:
    """See what waits for workers."""


@task.command()
@_task_id
@calls_server
def get(call: Call, task_id: str) -> None:
    """Show a task with its input and output."""
    from batuta.cli.show.style import Style
    from batuta.cli.show.tree import task_line
    from batuta.runtime.clock import wall_ms

    found = _found(call, task_id)
    style = Style()
    payloads = [
        f"{style.paint(name, 'dim')} {json_text(found.get(key) or {})}"
        for name, key in (("input", "inputData"), ("output", "outputData"))
    ]
    whose = f"{found['taskDefName']} of run {found['workflowInstanceId']}"
    line = task_line(found, wall_ms(), style, has_status=True)
    call.show(found, [f"{line}  {style.paint(whose, 'dim')}", *payloads])


@task.command()
@_task_id
@calls_server
def logs(call: Call, task_id: str) -> None:
    """Show the lines that a task's workers logged."""
    from batuta.cli.show.style import clean
    from batuta.cli.show.table import clock_text

    found = _found(call, task_id)
    lines = log_of(call, found["taskId"])
    call.show(lines, (f"{clock_text(line['createdTime'])}  {clean(line['log'])}" for line in lines))


@task.command()
@_task_id
@click.option(
    "--status",
    type=click.Choice(_STATUSES, case_sensitive=False),
    required=True,
    help="How it stands now.",
)
@click.option(
    "--data",
    "-d",
    "outputs",
    multiple=True,
    metavar="KEY=VALUE|JSON|@FILE",
    help="Its output; repeatable, later ones win.",
)
@click.option("--reason", help="Why it failed; kept with the task.")
@calls_server
def update(
    call: Call, task_id: str, status: str, outputs: tuple[str, ...], reason: str | None
) -> None:
    """Report on a task in a worker's place."""
    from batuta.cli.file import read_input

    output = read_input(outputs)
    report = {
        "workflowInstanceId": _found(call, task_id)["workflowInstanceId"],
        "taskId": task_id,
        "status": status,
        "outputData": output,
        "reasonForIncompletion": reason,
    }
    call.client.post("/tasks", {key: value for key, value in report.items() if value is not None})
    call.show({"taskId": task_id, "status": status}, [f"{task_id} is {status}"])


@queue.command("list")
@calls_server
def list_(call: Call) -> None:
    """Show each queue: what waits, what is in workers' hands, and when it was polled last."""
    queues = queues_of(call)
    call.show(queues, queue_lines(queues))


def queues_of(call: Call) -> list[dict[str, Any]]:
    """Read the queues of a server, each with the `workers` that polled it last, by domain."""
    workers: dict[str, list[str]] = {}
    for poll in call.client.get("/tasks/queue/polldata/all"):
        domain = f"{poll['domain']}:" if poll.get("domain") else ""
        worker = poll.get("workerId")
        workers.setdefault(domain + poll["queueName"], []).extend([worker] if worker else [])
    queues = call.client.get("/batuta/status")["queues"]
    return [queue | {"workers": workers.get(queue["queue"], [])} for queue in queues]


def queue_lines(queues: Iterable[dict[str, Any]]) -> list[str]:
    """Draw what ``queues_of`` read."""
    from batuta.cli.show.style import Style
    from batuta.cli.show.table import ago, table_lines
    from batuta.runtime.clock import wall_ms

    now_ms = wall_ms()
    rows = [
        (
            one["queue"],
            str(one["ready"]),
            str(one["leased"]),
            ago(one["oldestTime"], now_ms) if one["ready"] else "-",
            ago(one["lastPollTime"], now_ms),
            ", ".join(one["workers"]) or "-",
        )
        for one in queues
    ]
    head = ("queue", "ready", "in hand", "oldest", "last poll", "by worker")
    return table_lines(head, rows, Style())


def log_of(call: Call, task_id: str) -> list[dict[str, Any]]:
    """Read a task's log, oldest line first; a task without one gives []."""
    from batuta.cli.client import quoted

    return call.client.get(f"/tasks/{quoted(task_id)}/log") or []


def _found(call: Call, task_id: str) -> dict[str, Any]:
    from batuta.cli.client import quoted

    found: dict[str, Any] = call.client.get(f"/tasks/{quoted(task_id)}")
    return found
