"""`batuta demo`: a server with the example pipelines, and one of them run by real workers.

The server is this process, the workers are a `batuta worker` in a child process that talks to it
over HTTP, and so is the weather service that one example calls. What is shown is read over HTTP
too: nothing here is only for show.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import batuta
from batuta import app
from batuta.cli.client import Client
from batuta.cli.exit import complain
from batuta.cli.file import Definitions, read_definitions, read_json
from batuta.cli.process import next_free_port, prepare_database, run_loop, set_up_log
from batuta.cli.run import start
from batuta.cli.serve import load_definitions
from batuta.cli.settings import read_settings
from batuta.cli.show.watch import watch
from batuta.config import check_binding
from batuta.model.error import BatutaError, NotFoundError

ROOT = Path(batuta.__file__).parents[1]
WORKERS = (
    "examples.firmware_ci.workers",
    "examples.media.workers",
    "examples.order_saga.workers",
    "examples.approval.workers",
    "examples.fan_out.workers",
    "examples.customer_import.workers",
    "examples.weather.workers",
)
SERVICE = "examples.weather.service"  # what the weather report calls
SERVICE_HOST, SERVICE_PORT = "127.0.0.1", 8099  # as its definition says
INPUT = ROOT / "examples" / "firmware_ci" / "input.json"
PIPELINE = "firmware_pipeline"
RUN_S = 120.0  # the run takes four seconds; longer means that something is wrong
CHILD_EXIT_S = 15.0  # longer than the worker takes to finish what is under way


def demo_command(flags: Mapping[str, Any], env_file: Path | None, *, is_once: bool) -> int:
    """Serve the examples, run the firmware pipeline, and stay up until Ctrl-C.

    With `is_once`, stop after the run: exit code 0 when it completed, else 1.
    """
    settings = read_settings(flags, env_file).settings
    check_binding(settings)
    if not INPUT.is_file():
        raise NotFoundError(
            f"there is no file {str(INPUT)!r}; `batuta demo` runs in a clone of the repository"
        )
    definitions = read_definitions(_definition_files())
    set_up_log("warning")
    prepare_database(settings)
    port = next_free_port(settings.host, settings.port)
    if port != settings.port:
        complain(f"port {settings.port} is in use, taking {port}")
    settings = msgspec.structs.replace(settings, port=port)
    service_port = next_free_port(SERVICE_HOST, SERVICE_PORT)
    if service_port != SERVICE_PORT:
        definitions = _with_service_at(definitions, service_port)
    tour = _Tour(is_once=is_once, service_port=service_port)

    async def serve() -> None:
        await load_definitions(settings, definitions)
        await app.serve(settings, on_ready=tour.begin)

    try:
        run_loop(serve())
    except KeyboardInterrupt:
        pass  # the usual way to end it
    finally:
        tour.end()
    return tour.code


def _definition_files() -> list[Path]:
    return sorted((ROOT / "examples").glob("*/definitions"))


def _with_service_at(definitions: Definitions, port: int) -> Definitions:
    """Return the definitions with the weather service at the port that it really has."""
    written, real = (f"http://{SERVICE_HOST}:{number}" for number in (SERVICE_PORT, port))
    text = msgspec.json.encode(definitions.workflows).replace(written.encode(), real.encode())
    return msgspec.structs.replace(definitions, workflows=msgspec.json.decode(text))


class _Tour:
    """What happens beside the server: a thread that shows the run, and two child processes."""

    def __init__(self, *, is_once: bool, service_port: int) -> None:
        self.code = 0
        self._is_once = is_once
        self._service_port = service_port
        self._children: list[subprocess.Popen[bytes]] = []

    async def begin(self, url: str, _: Sequence[str] = ()) -> None:
        """Start once the server answers."""
        threading.Thread(target=self._guide, args=(url,), name="tour", daemon=True).start()

    def end(self) -> None:
        """End the workers and the service, which began with us."""
        for child in self._children:
            if child.stdin is not None:
                child.stdin.close()
        for child in self._children:
            try:
                child.wait(CHILD_EXIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _guide(self, url: str) -> None:
        is_completed = False
        try:
            is_completed = self._show(url)
        except BatutaError as error:
            complain(error.message)
        finally:
            self.code = 0 if is_completed else 1
            if self._is_once:
                self._stop()

    def _stop(self) -> None:
        self.end()  # before the server, so that they do not look for it
        os.kill(os.getpid(), signal.SIGTERM)

    def _show(self, url: str) -> bool:
        client = Client(url)
        print(f"server    {url}", flush=True)
        self._begin_child(SERVICE, "--port", str(self._service_port))
        options = ("--server", client.base, "--log-level", "warning")
        worker = self._begin_child("batuta", "worker", *WORKERS, *options)
        print(f"workers   process {worker.pid}, polling over HTTP")
        print(f"service   http://{SERVICE_HOST}:{self._service_port}, for weather_report to call")
        workflow_id = start(client, PIPELINE, None, read_json(INPUT))
        print(f"running   {PIPELINE} {workflow_id}\n", flush=True)
        run = watch(client, workflow_id, RUN_S)
        if run is None:
            complain(f"the run has not ended within {RUN_S:g} s; {url} shows where it stands")
            return False
        print(f"\nweb page  {url}")
        print(f"API       {client.base}")
        print(f"SDKs      export CONDUCTOR_SERVER_URL={client.base}")
        other = f"run media_pipeline --input topic=tides --watch --server {client.base}"
        print(f"try       .venv/bin/batuta {other}")
        if not self._is_once:
            print("Ctrl-C stops the server and the workers; what is under way goes on next time.")
        sys.stdout.flush()
        return bool(run["status"] == "COMPLETED")

    def _begin_child(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a program of ours that ends when its standard input does, so when we do."""
        child = subprocess.Popen(  # noqa: S603 - our own command, no text of a user in it
            [sys.executable, "-m", module, *options, "--until-stdin-ends"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self._children.append(child)
        return child
