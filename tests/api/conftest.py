"""A real engine on the memory store, and a client of the real ASGI application over it."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batuta.api import create_app
from batuta.model.change import Failure
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine
from batuta.store.blob.media import MediaFiles
from batuta.store.blob.upload import Uploads
from batuta.store.memory import MemoryStore
from tests.api.client import Client

UPLOAD_BYTES_MAX = 2_000_000  # more than the largest body here
FILE = "0" * 32 + ".png"  # a media file that is there


class Settings(msgspec.Struct, frozen=True):
    """What the wire is told."""

    allowed_hosts: tuple[str, ...] = ("batuta.example",)
    body_bytes_max: int = 1_000_000
    strict: bool = False


class NoScripts:
    """No definition of these tests needs a script."""

    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        raise AssertionError(f"nobody asked for {source!r} with {argument!r}")

    async def transform(self, program: str, argument: bytes) -> Payload | Failure:
        raise AssertionError(f"nobody asked for {program!r} with {argument!r}")


@asynccontextmanager
async def open_engine() -> AsyncIterator[Engine]:
    """Give a live engine on an empty memory store; stop it at the end."""
    store = MemoryStore(wall_ms)
    seeds = itertools.count()
    engine = Engine(
        store,
        now_ms=wall_ms,
        scripts=NoScripts(),
        seeds=lambda: next(seeds).to_bytes(16, "big"),
        node="node-1",
        version="1.2.3",
    )
    engine.start_loops()
    with tempfile.TemporaryDirectory() as folder:
        engine.uploads = Uploads(Path(folder), wall_ms=wall_ms, bytes_max=UPLOAD_BYTES_MAX)
        engine.media = MediaFiles(Path(folder) / "media", wall_ms=wall_ms)
        held = Path(folder) / "media" / FILE[:2] / FILE.partition(".")[0]
        held.mkdir(parents=True)
        (held / "unowned.png").write_bytes(b"a picture")
        yield engine
    await engine.stop()
    await store.close()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with open_engine() as engine:
        yield engine


@pytest.fixture
def client(engine: Engine) -> Client:
    return Client(create_app(engine, Settings()))


def simple(name: str, **more: Any) -> dict[str, Any]:
    """Give a SIMPLE task that has its reference name from its name."""
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE", **more}


def workflow(*tasks: dict[str, Any], name: str = "w", **more: Any) -> dict[str, Any]:
    """Give a workflow definition."""
    return {"name": name, "version": 1, "tasks": list(tasks), **more}


async def started(
    client: Client, *tasks: dict[str, Any], body: dict[str, Any] | None = None
) -> str:
    """Register a workflow and start it; give its id."""
    definition = workflow(*(tasks or (simple("a"),)))
    answer = await client.ask("PUT /api/metadata/workflow", [definition])
    assert answer.status == 200, answer.body
    answer = await client.ask("POST /api/workflow", {"name": "w", **(body or {})})
    assert answer.status == 200, answer.body
    return answer.body.decode()


async def polled(client: Client, name: str = "a", query: str = "workerid=me") -> dict[str, Any]:
    """Poll one task that is there."""
    answer = await client.ask(f"GET /api/tasks/poll/{name}?{query}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def report(task: dict[str, Any], status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    """Give the TaskResult for a polled task."""
    return {
        "workflowInstanceId": task["workflowInstanceId"],
        "taskId": task["taskId"],
        "status": status,
        **more,
    }


def names(things: Sequence[dict[str, Any]], key: str) -> list[Any]:
    """Give one field of each."""
    return [thing[key] for thing in things]
