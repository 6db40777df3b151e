"""Class workflows for tests: folders of them, a server whose clock can jump, its users."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from batuta.dialects.checkpointed.door.token import make_token
from batuta.runtime.clock import StoreClock, pause, wall_ms
from batuta.store.base import Store
from batuta.store.blob.media import MediaFiles
from tests.api.client import Answer
from tests.dialects.conftest import LIMIT_S, Served, memory, served

SECRET = "a secret of tests, which is longer than thirty-two bytes"
HEAD = """\
from pathlib import Path

from workflows.base_workflow import BaseWorkflow
from workflows.conditions import resume_check
from workflows.errors import HardError, RetryableError

HERE = Path(__file__).parent.parent


def note(word):
    with (HERE / "calls.txt").open("a") as file:
        file.write(word + "\\n")


def ask(name):
    path = HERE / name
    return path.read_text() if path.exists() else ""

"""


def write(folder: Path, name: str, *steps: str, body: str, **config: Any) -> None:
    """Write a workflow `name` with steps; ``body`` is that of its class, indented by four."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    document = {
        "id": name.replace("_", "-"),
        "name": name.title(),
        "description": "of a test",
        "icon": "x",
        "steps": [{"name": step, "type": "generation"} for step in steps],
        **config,
    }
    (place / "config.json").write_text(json.dumps(document), "utf-8")
    made = "".join(part.capitalize() for part in name.split("_")) + "Workflow"
    (place / "workflow.py").write_text(f"{HEAD}\nclass {made}(BaseWorkflow):\n{body}", "utf-8")


def chain(*steps: str, **bodies: str) -> str:
    """Return methods that note their call and return it; ``bodies`` are put in before."""
    return "".join(
        f"    async def step_{step}(self, given, config):\n"
        f"        note({step!r})\n"
        f"{bodies.get(step, '')}"
        f"        return {{'from': {step!r}}}\n\n"
        for step in steps
    )


def waiting_for(name: str) -> str:
    """Return a step's code that waits until a file is there."""
    return (
        f"        import asyncio\n        while not ask({name!r}):\n"
        "            await asyncio.sleep(0.005)\n"
    )


class Clock:
    """Store time that jumps when it is told to."""

    def __init__(self) -> None:
        self._clock = StoreClock()
        self.ahead_ms = 0

    def now_ms(self) -> int:
        """Return the time."""
        return self._clock.now_ms() + self.ahead_ms

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead_ms += int(seconds * 1_000)


class World:
    """A server, the folder of its workflows, and requests of its users."""

    def __init__(self, server: Served, folder: Path, clock: Clock) -> None:
        self.server = server
        self.folder = folder
        self.clock = clock

    @property
    def calls(self) -> list[str]:
        """Return the steps that were called, in order."""
        path = self.folder / "calls.txt"
        return path.read_text().split() if path.exists() else []

    def text(self, name: str) -> str:
        """Return what a file beside the workflows holds; "" when there is none."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    async def ask(self, line: str, body: Any = None, *, user: str = "ada", **more: Any) -> Answer:
        """Send a request with a user's token."""
        headers = {"authorization": f"Bearer {token(user)}", **more.pop("headers", {})}
        return await self.server.ask(line, body, headers=headers, **more)

    async def start(self, workflow_id: str, user: str = "ada", **fields: Any) -> str:
        """Start a job and return its id."""
        body = {"workflow_id": workflow_id, **fields}
        answer = await self.ask("POST /workflows/execute", body, user=user)
        assert answer.status == 200, answer.body
        return str(answer.json["job_id"])

    async def job(self, job_id: str) -> Any:
        """Return a job."""
        return (await self.ask(f"GET /jobs/{job_id}")).json["job"]

    async def execution(self, job_id: str) -> Any:
        """Return an execution."""
        return (await self.ask(f"GET /workflows/execution/{job_id}")).json["execution"]

    async def until(self, job_id: str, *statuses: str) -> Any:
        """Return a job as soon as it has one of some statuses."""

        async def look() -> Any:
            found = await self.job(job_id)
            return found if found["status"] in statuses else None

        return await eventually(look)

    async def until_due(self, job_id: str) -> int:
        """Return when a job's waiting step is due, store time, once that is on disk."""

        async def look() -> int:
            tasks = (await self.server.engine.get(job_id)).tasks
            return tasks[-1].task.due_at_ms if tasks else 0

        due_at_ms: int = await eventually(look)
        assert (await self.job(job_id))["status"] == "pending_retry"
        return due_at_ms

    def jump(self, seconds: float) -> None:
        """Let time pass, and have what is due by then noticed at once."""
        self.clock.jump(seconds)
        self.server.engine.timers.hint()

    async def until_called(self, *words: str) -> None:
        """Return when just these steps have been called."""

        async def look() -> bool:
            return self.calls == list(words)

        await eventually(look)

    async def ended(self, workflow_id: str, **fields: Any) -> Any:
        """Start a job and return it when it has ended."""
        job_id = await self.start(workflow_id, **fields)
        await self.server.ended(job_id)
        return await self.job(job_id)


async def eventually(look: Callable[[], Any]) -> Any:
    """Return what ``look`` finds, as soon as that is something."""
    async with asyncio.timeout(LIMIT_S):
        while not (found := await look()):
            await pause(0.01)
        return found


def token(user: str = "ada", *, expires_s: int = 600, now_s: int = 0, key: str = SECRET) -> str:
    """Return a token of a user."""
    return make_token(key, user, now_s=now_s or wall_ms() // 1_000, expires_s=expires_s)


def form(boundary: str = "xxBOUNDxx", **parts: Any) -> dict[str, Any]:
    """Return a form as options of a request; a part is a text, or (name, type, bytes) of a file."""
    body = b""
    for name, value in parts.items():
        head, data = f'name="{name}"', value
        if isinstance(value, tuple):
            head += f'; filename="{value[0]}"\r\nContent-Type: {value[1]}'
            data = value[2]
        data = data.encode() if isinstance(data, str) else data
        part = f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
        body += part + data + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    return {"raw": body, "headers": {"content-type": kind}}


@asynccontextmanager
async def world(
    folder: Path, *, store: Store | None = None, clock: Clock | None = None, **host_fields: Any
) -> AsyncIterator[World]:
    """Give a server with the class workflows of a folder."""
    clock = clock or Clock()
    own = store or memory()
    media = MediaFiles(folder.parent / "media", wall_ms=wall_ms, bytes_max=100_000)
    fields = {"jwt_secret": SECRET, "media": media, "folder": folder.parent, **host_fields}
    async with served(own, now_ms=clock.now_ms, workflows_folder=folder, **fields) as server:
        server.engine.media = media
        yield World(server, folder, clock)
    if store is None:
        await own.close()
