"""`batuta doctor`: what a server here stands on, looked at piece by piece."""

import asyncio
import functools
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from batuta import __version__, app
from batuta.cli.client import Client
from batuta.cli.command.call import show
from batuta.cli.exit import ExitCode
from batuta.cli.process import check_port, prepare_database
from batuta.cli.settings import masked, read_settings
from batuta.cli.show.style import Style
from batuta.config import Settings, check_binding
from batuta.model.error import BatutaError, ConflictError, NotFoundError
from batuta.model.payload import Payload
from batuta.runtime.sandbox.pool import Sandbox

FREE_BYTES_MIN = 200_000_000  # the log may grow to some 64 MB before it is folded into the file
LISTENER_S = 3.0  # whatever listens at our port is asked who it is; it need not speak HTTP
FAULTS_SHOWN = 10  # all are in -o json
FLOWS_SHOWN = 3  # the latest, in -o json

# A large database takes long: it is looked at once for all pieces.
_examined = functools.lru_cache(maxsize=1)(app.examine)

_SIGNS = {"ok": "COMPLETED", "warning": "PAUSED", "bad": "FAILED"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one piece: `state` is ok, warning or bad."""

    name: str
    state: str
    text: str
    details: list[str] = []


def doctor_command(
    flags: Mapping[str, Any], env_file: Path | None, *, is_json: bool, is_retry: bool = False
) -> ExitCode:
    """Look at every piece and say how it is.

    Args:
        is_retry: Let quarantined rows be tried again, by the server if one listens.

    Returns:
        0, or 1 when a piece is bad. A warning is none.
    """
    settings = read_settings(flags, env_file).settings
    pieces = {**_PIECES, "quarantine": _rearm if is_retry else _quarantine}
    findings = [_guarded(name, look, settings) for name, look in pieces.items()]
    is_well = all(finding.state != "bad" for finding in findings)
    document = {"isWell": is_well, "findings": msgspec.to_builtins(findings)}
    show(document, _lines(findings, Style()), is_json=is_json)
    return ExitCode.DONE if is_well else ExitCode.UNEXPECTED


def _guarded(name: str, look: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return look(settings)
    except (BatutaError, OSError) as error:
        text = error.message if isinstance(error, BatutaError) else str(error)
        return Finding(name=name, state="bad", text=text)


def _versions(_settings: Settings) -> Finding:
    import apsw

    text = (
        f"batuta {__version__}, Python {platform.python_version()}, apsw {apsw.apsw_version()}, "
        f"SQLite {apsw.sqlite_lib_version()}, {platform.system()} {platform.machine()}"
    )
    return Finding(name="versions", state="ok", text=text)


def _folder(settings: Settings) -> Finding:
    if app.is_postgres(settings.db):
        return Finding(name="folder", state="ok", text="none is needed with PostgreSQL")
    folder = Path(settings.db).expanduser().absolute().parent
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    if standing == folder:
        prepare_database(settings)  # leaves nothing behind where the folder is there already
    elif not os.access(standing, os.W_OK):
        text = f"{str(folder)!r} is not there and cannot be made in {str(standing)!r}"
        return Finding(name="folder", state="bad", text=text)
    free_bytes = shutil.disk_usage(standing).free
    free = f"{free_bytes / 1e9:.1f} GB free"
    if free_bytes < FREE_BYTES_MIN:
        return Finding(name="folder", state="warning", text=f"{folder}: only {free}")
    made = "can be written" if standing == folder else "is made by the first `batuta serve`"
    return Finding(name="folder", state="ok", text=f"{folder} {made}, {free}")


def _database(settings: Settings) -> Finding:
    if app.is_postgres(settings.db):
        asyncio.run(_open_and_close(settings.db))
        text = f"{masked(settings.db)} opens, its schema is this version's; only SQLite is scanned"
        return Finding(name="database", state="ok", text=text)
    path = Path(settings.db)
    try:
        found = _examined(settings)
    except NotFoundError:
        text = f"{path} is not there yet; the first `batuta serve` makes it"
        return Finding(name="database", state="ok", text=text)
    if found.held:
        text = f"{found.held.partition(';')[0]}; it is scanned when no server has it"
        return Finding(name="database", state="ok", text=text)
    text = f"{path}: schema {found.schema}, {found.run_count} runs"
    if found.faults is None:
        text += f"; the next `batuta serve` brings it to schema {found.schema_newest}"
        return Finding(name="database", state="warning", text=text)
    if found.faults:
        text += "; it breaks rules that always hold, so keep a copy and report this"
        return Finding(name="database", state="bad", text=text, details=found.faults)
    return Finding(name="database", state="ok", text=f"{text}, scanned: all rules hold")


async def _open_and_close(url: str) -> None:
    store = await app.open_store(url)
    await store.close()


def _quarantine(settings: Settings) -> Finding:
    client = _listening(settings)
    if client is not None:
        with closing(client):
            found = client.get("/batuta/quarantine")
        count, rows = found["quarantined"], found["rows"]
        details = [
            f"{row['kind']} of run {row['workflowId']} failed {row['attempts']} times: "
            f"{row['error']}"
            for row in rows
            if row["isQuarantined"]
        ]
    elif app.is_postgres(settings.db):
        count, details = asyncio.run(_count_quarantined(settings.db))
    else:
        try:
            found = _examined(settings)
        except NotFoundError:
            return Finding(name="quarantine", state="ok", text="there is no database yet")
        if found.held:
            text = f"the server that has the database knows; give its --port: {found.held}"
            return Finding(name="quarantine", state="warning", text=text)
        count, details = found.quarantined_count, []
    if not count:
        return Finding(name="quarantine", state="ok", text="no message and no timer is quarantined")
    text = f"{count} messages or timers failed too often and wait for `batuta doctor --retry`"
    return Finding(name="quarantine", state="bad", text=text, details=details)


def _rearm(settings: Settings) -> Finding:
    client = _listening(settings)
    if client is not None:
        with closing(client):
            count = client.post("/batuta/quarantine/retry", None)["rearmed"]
    elif app.is_postgres(settings.db) or Path(settings.db).exists():
        count = asyncio.run(_rearm_all(settings.db))
    else:
        count = 0
    text = f"{count} quarantined rows are tried again"
    return Finding(name="quarantine", state="ok", text=text)


async def _count_quarantined(url: str) -> tuple[int, list[str]]:
    store = await app.open_store(url)
    try:
        rows = [row for row in await store.failing() if row.retry_at_ms is None]
    finally:
        await store.close()
    return len(rows), [f"{row.kind} of run {row.workflow_id}: {row.error}" for row in rows]


async def _rearm_all(url: str) -> int:
    store = await app.open_store(url)
    try:
        return await store.rearm()
    finally:
        await store.close()


def _listening(settings: Settings) -> Client | None:
    """Return what asks the server at our port, None when no batuta listens there."""
    client = Client(f"http://{settings.host}:{settings.port}", answer_s=LISTENER_S)
    try:
        client.get("/batuta/status")["version"]
    except (BatutaError, ValueError, TypeError, KeyError):
        client.close()
        return None
    return client


def _port(settings: Settings) -> Finding:
    check_binding(settings)
    where = f"port {settings.port} at {settings.host}"
    try:
        check_port(settings.host, settings.port)
    except ConflictError:
        client = Client(f"http://{settings.host}:{settings.port}", answer_s=LISTENER_S)
        try:
            version = client.get("/batuta/status")["version"]
        except (BatutaError, ValueError, TypeError, KeyError):
            raise ConflictError(
                f"{where} is in use by another program; stop it or give --port"
            ) from None
        finally:
            client.close()
        return Finding(name="port", state="ok", text=f"batuta {version} listens at {where}")
    return Finding(name="port", state="ok", text=f"{where} is free")


def _flows(settings: Settings) -> Finding:
    """Say what the flow builder's check-status.sh says: who answers, and the latest flows."""
    client = _listening(settings)
    if client is None:
        return Finding(name="flows", state="ok", text="no server listens that could be asked")
    with closing(client):
        health = client.get_beside("/health")
        records = client.get_beside("/workflow/history")
    text = (
        f"{health['service']} is {health['status']}, its engine at {health['conductorUrl']}; "
        f"{len(records)} flows in the history"
    )
    latest = [f"{one['endTime']} {one['status']} {one['workflowName']}" for one in records]
    state = "ok" if health["status"] == "ok" else "bad"
    return Finding(name="flows", state=state, text=text, details=latest[:FLOWS_SHOWN])


def _sandbox(settings: Settings) -> Finding:
    value, report = asyncio.run(_try_sandbox(settings))
    measures: dict[str, bool] = report["measures"] or {}
    if not isinstance(value, Payload):
        text = f"scripts cannot run: {value}"
        return Finding(name="sandbox", state="bad", text=text)
    absent = sorted(name for name, is_active in measures.items() if not is_active)
    if absent:
        text = f"scripts run, with less than full protection: no {', '.join(absent)}"
        return Finding(name="sandbox", state="warning", text=text)
    text = f"scripts run, confined by {len(measures)} measures"
    return Finding(name="sandbox", state="ok", text=text, details=sorted(measures))


async def _try_sandbox(settings: Settings) -> tuple[Any, dict[str, Any]]:
    sandbox = Sandbox(script_ms_max=settings.script_ms_max)
    await sandbox.start()
    try:
        value = await sandbox.evaluate("1 + 1", b"{}")
        return value, sandbox.report()
    finally:
        await sandbox.stop()


_PIECES: dict[str, Callable[[Settings], Finding]] = {
    "versions": _versions,
    "folder": _folder,
    "database": _database,
    "port": _port,
    "flows": _flows,
    "sandbox": _sandbox,
}


def _lines(findings: list[Finding], style: Style) -> Iterator[str]:
    for finding in findings:
        yield f"{style.sign(_SIGNS[finding.state])} {finding.name:10}  {finding.text}"
        if finding.state == "bad":
            yield from (f"    {detail}" for detail in finding.details[:FAULTS_SHOWN])
            more = len(finding.details) - FAULTS_SHOWN
            if more > 0:
                yield f"    and {more} more, see -o json"
    if all(finding.state == "ok" for finding in findings):
        yield style.paint("nothing is wrong", "green")
    sys.stdout.flush()
