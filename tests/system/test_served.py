"""HTTP tasks of a real server process: settings, a kill in the middle of a call, idle cost."""

import asyncio
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batuta.cli.client import Client
from tests.cli.live import Process, server, wait_until
from tests.system.server import Target, slow

INPUT = {"uri": "${workflow.input.uri}", "method": "POST", "readTimeOut": 60_000}
TASK = {"name": "call", "taskReferenceName": "call", "type": "HTTP", "inputParameters": INPUT}
DEFINITION = {"name": "calling", "tasks": [TASK], "schemaVersion": 2}


def run_one(url: str, uri: str) -> dict[str, Any]:
    """Run one HTTP task on a server, and return the run as it ended."""
    client = Client(url)
    try:
        return ended(client, begin(client, uri))
    finally:
        client.close()


def begin(client: Client, uri: str) -> str:
    client.put("/metadata/workflow", [DEFINITION])
    return str(client.post("/workflow/calling", {"uri": uri}))


def ended(client: Client, workflow_id: str) -> dict[str, Any]:
    run: dict[str, Any] = {}

    def has_ended() -> bool:
        run.update(client.get(f"/workflow/{workflow_id}"))
        return run["status"] != "RUNNING"

    wait_until(has_ended)
    return run


@pytest.mark.parametrize(
    ("options", "environment", "status"),
    [
        ((), {}, "COMPLETED"),
        (("--allow-remote",), {}, "FAILED"),
        ((), {"BATUTA_ALLOWED_HOSTS": "batuta.example"}, "FAILED"),
        (("--allow-remote",), {"BATUTA_HTTP_ALLOWED_TARGETS": "127.0.0.0/8"}, "COMPLETED"),
    ],
)
async def test_a_server_that_others_reach_calls_inside_only_what_is_allowed(
    target: Target,
    tmp_path: Path,
    options: tuple[str, ...],
    environment: dict[str, str],
    status: str,
) -> None:
    def run() -> dict[str, Any]:
        with server(tmp_path / "batuta.db", *options, **environment) as url:
            return run_one(url, f"{target.url}/json")

    found = await asyncio.to_thread(run)

    assert found["status"] == status
    assert len(target.seen) == (1 if status == "COMPLETED" else 0)
    if status == "FAILED":
        assert "BATUTA_HTTP_ALLOWED_TARGETS" in found["tasks"][0]["reasonForIncompletion"]


async def test_an_allow_list_that_cannot_be_read_stops_the_server(tmp_path: Path) -> None:
    def run() -> Process:
        options = ("--port", "0", "--db", str(tmp_path / "batuta.db"))
        process = Process("serve", *options, BATUTA_HTTP_ALLOWED_TARGETS="10.0.0.1/8")
        wait_until(lambda: process.process.poll() is not None)
        process.stop()
        return process

    process = await asyncio.to_thread(run)

    assert process.process.returncode != 0
    assert any("http_allowed_targets" in line for line in process.lines), process.lines


async def test_a_call_that_a_killed_server_was_making_is_made_again_by_the_next_one(
    tmp_path: Path,
) -> None:
    def start() -> tuple[Process, Client]:
        process = Process("serve", "--port", "0", "--db", str(tmp_path / "batuta.db"))
        return process, Client(process.wait_for(r"serves at (http://\S+)")[1])

    async with slow() as (answering, uri):
        process, client = await asyncio.to_thread(start)
        try:
            workflow_id = await asyncio.to_thread(begin, client, uri)
            await answering.until(1)
            await asyncio.to_thread(process.kill)
            client.close()

            process, client = await asyncio.to_thread(start)
            await answering.until(2)
            answering.is_open.set()
            run = await asyncio.to_thread(ended, client, workflow_id)
        finally:
            client.close()
            await asyncio.to_thread(process.kill)

    assert run["status"] == "COMPLETED"
    assert len(run["tasks"]) == 1, "the same attempt, and no new one"
    assert run["tasks"][0]["outputData"]["response"]["statusCode"] == 200
    assert answering.count == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what is loaded")
async def test_the_http_client_is_loaded_with_the_first_call(
    target: Target, tmp_path: Path
) -> None:
    def has_client(process: Process) -> bool:
        return "/aiohttp/" in Path(f"/proc/{process.process.pid}/maps").read_text("utf-8")

    def run() -> tuple[bool, str, bool]:
        process = Process("serve", "--port", "0", "--db", str(tmp_path / "batuta.db"))
        try:
            url = process.wait_for(r"serves at (http://\S+)")[1]
            before = has_client(process)
            status = run_one(url, f"{target.url}/json")["status"]
            return before, status, has_client(process)
        finally:
            process.kill()

    assert await asyncio.to_thread(run) == (False, "COMPLETED", True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_certificate_has_to_be_trusted(tmp_path: Path, *, is_trusted: bool) -> None:
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    about = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2")
    making = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *about)
    await asyncio.to_thread(subprocess.run, making, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem")} if is_trusted else {}

    def run(uri: str) -> dict[str, Any]:
        with server(tmp_path / "batuta.db", **trusted) as url:
            return run_one(url, uri)

    async with slow(context) as (answering, uri):
        answering.is_open.set()
        found = await asyncio.to_thread(run, uri)

    [task] = found["tasks"]
    assert found["status"] == ("COMPLETED" if is_trusted else "FAILED")
    assert answering.count == int(is_trusted)
    if not is_trusted:
        assert "certificate is not trusted" in task["reasonForIncompletion"]
