"""What a front door costs over the engine: the same runs started by its path and by Conductor's.

A first run by the front door gives the definition and the input that it makes; the engine is then
given the very same. Both are started one after the other in turns, on the same connections, until
all have ended. A ratio of 1.10 is an overhead of ten percent.
"""

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import msgspec

from batuta.dialects.checkpointed.door.token import make_token
from bench.load.client import Connection, expect
from bench.load.inprocess import named
from bench.load.server import Server

STEPS = 10
RUNS = 300  # at scale 1
ROUNDS = 5
STARTERS = 8
LOOK_S = 0.01  # between two looks at how many runs have ended


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """How a front door keeps a definition and starts a run of it.

    ``keep``: method, path and body; "" where a start brings its own. ``start``: path with ``{id}``
    of what was kept. ``run``: where the answer has the run's id.
    """

    name: str
    keep: tuple[str, str, dict[str, Any]] | None = None
    start: str
    body: dict[str, Any]
    run: str


def _steps() -> Door:
    steps = {
        f"s{number}": {
            "id": f"s{number}",
            "name": f"Step {number}",
            "type": "function",
            "functionName": "logAnalytics",
            "nextStepId": f"s{number + 1}" if number < STEPS else None,
        }
        for number in range(1, STEPS + 1)
    }
    definition = {"name": "bench steps", "startAt": "s1", "steps": steps}
    return Door(
        name="steps",
        keep=("POST", "/workflows/definitions", definition),
        start="/workflows/{id}/trigger",
        body={"payload": {"x": 1}},
        run="instanceId",
    )


def _dag() -> Door:
    nodes = [
        {"id": f"n{number}", "base": _node(f"n{number}"), "position": {"x": 0, "y": 0}}
        for number in range(1, STEPS + 1)
    ]
    edges = [
        {"id": f"e{number}", "sourceId": f"n{number}", "targetId": f"n{number + 1}"}
        for number in range(1, STEPS)
    ]
    return Door(
        name="dag",
        keep=(
            "POST",
            "/workflows",
            {"name": "bench dag", "workflow": {"nodes": nodes, "edges": edges}},
        ),
        start="/workflows/{id}/execute-async",
        body={"input": {"x": 1}},
        run="runId",
    )


def _node(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "notification",
        "name": name,
        "inputSchema": {},
        "outputSchema": {},
        "config": {"template": "x is {{ x }}"},
        "connections": [],
    }


def _flow() -> Door:
    nodes = [
        {
            "id": f"n{number}",
            "type": "split_text",
            "config": {"text": '["a", "b"]', "splitMode": "array"},
        }
        for number in range(1, STEPS + 1)
    ]
    return Door(
        name="flow",
        start="/workflow/run",
        body={"workflowName": "bench", "nodes": nodes},
        run="workflowId",
    )


def _checkpointed() -> Door:
    return Door(
        name="checkpointed",
        start="/workflows/execute",
        body={"workflow_id": "bench", "options": {}},
        run="job_id",
    )


DOORS = (_steps, _dag, _flow, _checkpointed)
SECRET = "bench" * 8
CODE = """\
from workflows.base_workflow import BaseWorkflow


class BenchWorkflow(BaseWorkflow):
    async def step_s1(self, input_data, step_config):
        return {"x": 1}

    step_s2 = step_s3 = step_s4 = step_s5 = step_s1
    step_s6 = step_s7 = step_s8 = step_s9 = step_s10 = step_s1
"""


def _write_class(folder: Path) -> None:
    """Write a class workflow of ten steps."""
    (folder / "bench").mkdir(parents=True)
    steps = [{"name": f"s{number}", "type": "process"} for number in range(1, STEPS + 1)]
    config = {"id": "bench", "name": "Bench", "description": "", "icon": "", "steps": steps}
    (folder / "bench" / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "bench" / "workflow.py").write_text(CODE, "utf-8")


class _Subject:
    """A server and the connections that start runs there."""

    def __init__(self, server: Server, connections: list[Connection], runs: int) -> None:
        self.runs = runs
        self._server = server
        self._connections = connections

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to one request, decoded."""
        raw = b"" if body is None else json.dumps(body).encode()
        answer = await expect(self._connections[0], method, path, raw)
        return msgspec.json.decode(answer)

    async def ended(self) -> int:
        """Return how many runs have completed."""
        status = await self.ask("GET", "/api/batuta/status")
        return int(status["counts"].get("COMPLETED", 0))

    async def until(self, count: int) -> None:
        """Wait until so many runs have completed."""
        while await self.ended() < count:
            await asyncio.wait([asyncio.ensure_future(asyncio.sleep(LOOK_S))])

    async def burst(self, path: str, body: bytes) -> tuple[float, float]:
        """Return the seconds and the server's CPU seconds from the first start to the last end."""
        before = await self.ended()
        left = iter(range(self.runs))

        async def starter(connection: Connection) -> None:
            for _ in left:
                await expect(connection, "POST", path, body)

        cpu_s, begun = self._server.cpu_s(), time.perf_counter()
        await asyncio.gather(*map(starter, self._connections))
        await self.until(before + self.runs)
        return time.perf_counter() - begun, self._server.cpu_s() - cpu_s


async def _compare(subject: _Subject, door: Door) -> dict[str, float]:
    kept = await subject.ask(*door.keep) if door.keep else {}
    path, body = door.start.format(id=kept.get("id", "")), json.dumps(door.body).encode()
    before = await subject.ended()
    first = (await subject.ask("POST", path, door.body))[door.run]
    await subject.until(before + 1)
    run = await subject.ask("GET", f"/api/workflow/{first}")
    plain = {
        "name": run["workflowName"],
        "workflowDef": run["workflowDefinition"],
        "input": run["input"],
    }
    await subject.ask("PUT", "/api/metadata/workflow", [plain.pop("workflowDef")])
    engine = "/api/workflow", json.dumps(plain).encode()
    ratios, cpu_ratios, through, cpu = [], [], [], []
    for _ in range(ROUNDS):
        took_s, cpu_s = await subject.burst(path, body)
        engine_s, engine_cpu_s = await subject.burst(*engine)
        ratios.append(took_s / engine_s)
        cpu_ratios.append(cpu_s / engine_cpu_s)
        through.append(subject.runs / took_s)
        cpu.append(cpu_s)
    return {
        f"{door.name}_ratio": round(statistics.median(ratios), 3),
        f"{door.name}_cpu_ratio": round(statistics.median(cpu_ratios), 3),
        f"{door.name}_runs_per_s": round(statistics.median(through)),
        f"{door.name}_server_cpu_us_per_step": round(
            statistics.median(cpu) / (subject.runs * STEPS) * 1e6, 1
        ),
    }


async def _measure(server: Server, runs: int) -> dict[str, float]:
    connections = [await Connection.open("127.0.0.1", server.port) for _ in range(STARTERS)]
    token = make_token(SECRET, "bench", now_s=int(time.time()))
    for connection in connections:
        connection.fields = f"Authorization: Bearer {token}\r\n"
    subject = _Subject(server, connections, runs)
    found: dict[str, float] = {}
    for door in DOORS:
        found |= await _compare(subject, door())
    for connection in connections:
        connection.close()
    return named("door", found)


def measure(folder: Path, scale: float) -> dict[str, float]:
    """Return the ratio of each front door to the engine."""
    environment = {
        "BATUTA_STEPS_DELAY_PERCENT": "0",
        "BATUTA_AI": "fake",
        "BATUTA_NODE_TASKS_MAX": "64",  # as many as the others do: a start is what differs here
        "BATUTA_GRAPH_TASKS_MAX": "64",
        "BATUTA_WORKFLOWS": str(folder / "workflows"),
        "BATUTA_JWT_SECRET": SECRET,
    }
    _write_class(folder / "workflows")
    with Server(folder / "doors.db", environment=environment) as server:
        return asyncio.run(_measure(server, max(int(RUNS * scale), STARTERS)))
