"""A whole firmware plant in one process: an engine, the workers of the example, a device.

The engine's time is ours, so that a retry after four minutes takes none; its wire, the workers'
polls, the device's HTTP and the uploads over the air are real.
"""

import asyncio
import contextlib
import itertools
import json
import secrets
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from batuta.api import create_app
from batuta.cli.client import Client
from batuta.model.change import Failure
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine
from batuta.store.memory import MemoryStore
from batuta.workers.function import task_functions
from batuta.workers.loop import Workers
from batuta.workers.remote import RemoteTransport
from examples.firmware_ci.suite import workers
from examples.firmware_ci.suite.simulator import Device, Ota, Server

ENDED = {"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"}
DEVICE_IP = "192.168.1.104"  # in the definitions of the K1 project
PROJECT = Path(workers.__file__).parents[1] / "project"
LIMIT_S = 30
LANES = 4  # of each function

Json = dict[str, Any]


class Clock:
    """Store time that a test can put on."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self.moved: Callable[[], None] = lambda: None

    def put_on(self, ahead_ms: int) -> None:
        """Put the clock on, and have what is due looked at now."""
        self.ahead_ms += ahead_ms
        self.moved()

    def now_ms(self) -> int:
        return wall_ms() + self.ahead_ms


class NoScripts:
    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        raise AssertionError(f"nobody asked for {source!r} with {argument!r}")


class WireSettings(msgspec.Struct, frozen=True):
    """What the wire is told."""

    allowed_hosts: tuple[str, ...] = ()
    body_bytes_max: int = 1_000_000
    strict: bool = False


@contextlib.asynccontextmanager
async def serving(clock: Clock) -> AsyncIterator[str]:
    """Serve an engine in memory whose clock is ours, at a real port."""
    store = MemoryStore(clock.now_ms)
    seeds = itertools.count()
    engine = Engine(
        store,
        now_ms=clock.now_ms,
        scripts=NoScripts(),
        seeds=lambda: next(seeds).to_bytes(16, "big"),
    )
    engine.start_loops()
    clock.moved = engine.timers.hint
    listener = socket.create_server(("127.0.0.1", 0))
    app: Callable[..., Awaitable[None]] = create_app(engine, WireSettings())
    options: dict[str, Any] = {"lifespan": "off", "interface": "asgi3", "log_config": None}
    http = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=2, **options))
    http.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(http.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        http.should_exit = True
        await task
        listener.close()
        await engine.stop()
        await store.close()


@contextlib.contextmanager
def device(**options: Any) -> Iterator[tuple[Device, str]]:
    """Give a simulated device and where it answers, as K1_DEVICE_MAP has it."""
    made = Device(**options)
    http, ota = Server(0, made), Ota(0, made)
    threads = [threading.Thread(target=http.serve_forever, args=(0.05,))]
    threads.append(threading.Thread(target=ota.run, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield made, f"127.0.0.1:{http.server_port}:{ota.port}"
    finally:
        http.shutdown()
        http.server_close()
        ota.udp.close()
        threads[0].join(5)


def environment(home: Path, where: str, url: str) -> dict[str, str]:
    """Give what the workers are told."""
    return {
        "ARTIFACT_STORAGE_PATH": str(home / "artifacts"),
        "PLATFORMIO_PROJECT_PATH": str(home / "project"),
        "K1_COMPILER": "stand-in",
        "K1_DEVICE_MAP": f"{DEVICE_IP}={where}",
        "K1_OBSERVE_PERCENT": "0",
        "K1_OTA_WAIT_S": "10",
        "K1_RESTART_S": "0.1",
        "BATUTA_SERVER_URL": f"{url}/api",
    }


class Plant:
    """What a test asks of the plant."""

    def __init__(self, url: str, home: Path, lamp: Device, clock: Clock) -> None:
        self.url, self.home, self.device, self.clock = url, home, lamp, clock
        self.client = Client(url)
        self.artifacts = home / "artifacts"
        self.waits: list[int] = []
        self.commits: list[str] = []

    async def register(self, folder: Path) -> None:
        """Store the definitions of the K1 project as they stand in the files."""
        for part, path in (("taskdefs", "taskdefs"), ("workflows", "workflow")):
            found = [json.loads(one.read_text("utf-8")) for one in (folder / part).glob("*.json")]
            await self.ask("put" if path == "workflow" else "post", f"/metadata/{path}", found)

    async def ask(self, method: str, path: str, *body: Any) -> Any:
        """Call the API."""
        client = Client(self.url)
        try:
            return await asyncio.to_thread(getattr(client, method), path, *body)
        finally:
            client.close()

    def commit(self, *, flash_bytes: int = 0, source: str = "") -> str:
        """Make a check-out of a new commit; give its hash."""
        sha = secrets.token_hex(20)
        self.commits.append(sha)
        checkout = self.home / "project" / sha
        shutil.copytree(PROJECT, checkout)
        if flash_bytes:
            ini = checkout / "platformio.ini"
            line = f"framework = arduino\ncustom_flash_bytes = {flash_bytes}"
            ini.write_text(ini.read_text("utf-8").replace("framework = arduino", line), "utf-8")
        if source:
            (checkout / "src" / "more.cpp").write_text(source, "utf-8")
        return sha

    async def start(self, name: str, given: Mapping[str, Any]) -> str:
        """Start a run; give its id."""
        return str(await self.ask("post", f"/workflow/{name}", dict(given)))

    async def pipeline(self, sha: str) -> Json:
        """Run the pipeline of a commit to its end."""
        given = {
            "repo": "K1.node1",
            "branch": "main",
            "commit_sha": sha,
            "environment": "esp32-s3-devkitc-1",
        }
        return await self.ended(await self.start("firmware-ci-cd-pipeline", given))

    async def ended(self, workflow_id: str) -> Json:
        """Wait for the end of a run; where a retry waits, put the clock on to it."""
        return await self.until(workflow_id, lambda run: run["status"] in ENDED)

    async def until(self, workflow_id: str, is_it: Callable[[Json], bool]) -> Json:
        """Wait until a run is as wanted, and give it; ``waits`` notes the retries' seconds."""
        seen: set[str] = set()
        async with asyncio.timeout(LIMIT_S):
            while True:
                run: Json = await self.ask("get", f"/workflow/{workflow_id}")
                if is_it(run):
                    return run
                last = run["tasks"][-1] if run["tasks"] else {}
                wait_s = last.get("callbackAfterSeconds", 0)
                is_delayed = last.get("status") == "SCHEDULED" and last.get("retryCount")
                if is_delayed and wait_s and last["taskId"] not in seen:
                    seen.add(last["taskId"])
                    self.waits.append(wait_s)
                    self.clock.put_on(wait_s * 1_000 + 100)
                await asyncio.sleep(0.02)

    def tidy(self) -> None:
        """Remove what builds left beside temporary files."""
        self.client.close()
        for sha in self.commits:
            shutil.rmtree(f"/tmp/k1-build-{sha}", ignore_errors=True)


@contextlib.asynccontextmanager
async def plant(home: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    """Give a plant that works."""
    shutil.copytree(PROJECT, home / "project")
    clock = Clock()
    async with serving(clock) as url:
        with device() as (lamp, where):
            for name, value in environment(home, where, url).items():
                patch.setenv(name, value)
            functions = [msgspec.structs.replace(one, concurrency=LANES) for one in _functions()]
            pool = Workers(RemoteTransport(url, "plant"), functions)
            pool.start()
            made = Plant(url, home, lamp, clock)
            try:
                yield made
            finally:
                await pool.drain(2_000)
                made.tidy()


def _functions() -> list[Any]:
    return list(task_functions(vars(workers)))


def references(run: Json) -> list[tuple[str, str]]:
    """Give the tasks of a run: their names and how each ended."""
    return [(task["referenceTaskName"], task["status"]) for task in run["tasks"]]


def output_of(run: Json, reference: str) -> Json:
    """Give the output of a task of a run, of its last attempt."""
    found = [task for task in run["tasks"] if task["referenceTaskName"] == reference]
    output: Json = found[-1].get("outputData", {})
    return output
