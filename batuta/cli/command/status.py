"""`batuta status`: a server on one screen, and whether all is well with it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from batuta.cli.command.call import Call
from batuta.cli.command.task import queue_lines, queues_of
from batuta.cli.exit import ExitCode, UnreachableError, complain
from batuta.cli.show.style import Style
from batuta.cli.show.table import ago
from batuta.cli.show.tree import headline
from batuta.runtime.clock import wall_ms

RUNS_SHOWN = 3
SILENT_LOOP_MS = 60_000  # the slowest loop makes a pass each second, also when it failed
UNPOLLED_MS = 60_000  # a worker polls each few seconds, also when nothing waits


def status_command(flags: Mapping[str, Any], env_file: Path | None, output: str) -> ExitCode:
    """Show the server, its store, loops and queues, and the newest runs.

    Returns:
        0 when all is well, 1 when something is not, 3 when there is no server.
    """
    call = Call(flags, env_file, output)
    try:
        found = call.client.get("/batuta/status")
        queues = queues_of(call)
    except UnreachableError as error:
        complain(error.message)
        if call.is_json:
            call.show({"isWell": False, "troubles": [error.message]}, [])
        return ExitCode.UNREACHABLE
    finally:
        call.client.close()
    now_ms = wall_ms()
    troubles = list(troubles_of(found, now_ms))
    document = found | {"queues": queues, "isWell": not troubles, "troubles": troubles}
    call.show(document, _screen(document, call.client.base, now_ms, Style()))
    return ExitCode.UNEXPECTED if troubles else ExitCode.DONE


def troubles_of(status: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    """Say what is not well with a server.

    Args:
        status: As `GET /api/batuta/status` answers it.
    """
    if status["isDraining"]:
        yield "the server is stopping"
    elif not status["isReady"]:
        yield "the server is not ready yet"
    for name, loop in status["loops"].items():
        if loop["lastPassMsAgo"] > SILENT_LOOP_MS:
            yield f"the loop {name!r} has made no pass for {loop['lastPassMsAgo'] // 1_000} s"
        if loop.get("lastError"):
            yield f"{name} is {loop['lag']} entries behind and fails: {loop['lastError']}"
    if status.get("quarantined"):
        yield f"quarantined rows: {status['quarantined']}; see `batuta doctor`"
    for queue in status["queues"]:
        # A worker whose hands are full does not poll; its leases end when it has gone.
        is_forsaken = not queue["leased"] and now_ms - queue["lastPollTime"] > UNPOLLED_MS
        if queue["ready"] and is_forsaken:
            polled = ago(queue["lastPollTime"], now_ms)
            wait = "1 task waits" if queue["ready"] == 1 else f"{queue['ready']} tasks wait"
            yield f"{wait} in queue {queue['queue']!r}; last poll: {polled}"


def _screen(status: Mapping[str, Any], base: str, now_ms: int, style: Style) -> Iterator[str]:
    def row(name: str, text: str) -> str:
        return f"{style.paint(f'{name:7}', 'dim')} {text}"

    more = status["countsAreLowerBounds"]
    counts = ", ".join(
        f"{count}{'+' if word in more else ''} {word}"
        for word, count in status["counts"].items()
        if count
    )
    yield row("server", f"batuta {status['version']} at {base}, node {status['node']}")
    yield row("", f"started {ago(status['startedTime'], now_ms)}")
    yield row("store", f"{status['store']}, answers")
    yield row("runs", counts or "none")
    for name, loop in status["loops"].items():
        passed, failed = loop["lastPassMsAgo"], loop["errors"]
        behind = f", {loop['lag']} entries behind" if loop.get("lag") is not None else ""
        yield row("loop", f"{name}: last pass {passed} ms ago, {failed} errors{behind}")
    if (kept := status.get("retention")) and kept["isConfigured"]:
        when = ago(kept["lastPassTime"], now_ms)
        yield row("", f"runs removed by retention: {kept['runsRemoved']}; last pass {when}")
    yield ""
    yield from queue_lines(status["queues"]) or ["no queues"]
    yield ""
    recent = status["recent"][:RUNS_SHOWN]
    yield from (headline(run, now_ms, style) for run in recent)
    if not recent:
        yield "no runs"
    yield ""
    for trouble in status["troubles"]:
        yield style.paint(f"not well: {trouble}", "red")
    if not status["troubles"]:
        yield style.paint("all is well", "green")
