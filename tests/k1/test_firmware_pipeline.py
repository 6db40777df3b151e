"""The firmware pipeline of the K1 project, its definitions verbatim, with workers over HTTP.

Source: ../shared/data/k1; the wire is a real server process, except where time has to pass: the
retry of the compiler waits 30 seconds, so there the engine gets a clock that a test can put on.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import batuta
from batuta.cli.client import Client
from batuta.workers.function import task_functions
from batuta.workers.loop import Workers
from batuta.workers.remote import RemoteTransport
from tests.cli.live import server
from tests.k1.plant import ENDED, Clock, references, serving

PIPELINE = "firmware-ci-cd-pipeline"
HANDLER = "firmware-build-failure-handler"
USAGE = re.compile(r"^(RAM|Flash):.*?([\d.]+)% \(used (\d+) bytes", re.MULTILINE)


@pytest.fixture(scope="module")
def k1(shared_data: Path) -> Path:
    return shared_data / "k1"


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def register(client: Client, k1: Path) -> None:
    """Store the definitions as they stand in the files."""
    task_defs = [read(path) for path in sorted((k1 / "taskdefs").glob("*.json"))]
    client.post("/metadata/taskdefs", task_defs)
    names = (HANDLER, PIPELINE)
    client.put("/metadata/workflow", [read(k1 / "workflows" / f"{name}.json") for name in names])


class Team:
    """The workers of the pipeline, and what they were asked."""

    def __init__(self, build_log: str, *, compiles: bool = True) -> None:
        self.build_log = build_log
        self.compiles = compiles
        self.notified: list[dict[str, Any]] = []
        self.seen: dict[str, list[dict[str, Any]]] = {}

    def functions(self) -> list[Callable[..., Any]]:
        """Give a function for each task of both workflows."""
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "validate_commit": lambda _: {"valid": True, "reason": None},
            "clean_build_env": lambda _: {"cleaned": True},
            "platformio_compile": self._compile,
            "extract_build_metrics": self._measure,
            "validate_build": self._judge,
            "store_artifact": lambda given: {
                "artifact_url": f"file:///artifacts/{given['version']}.bin",
                "artifact_id": given["version"],
            },
            "deploy_firmware_ota": lambda _: {"deployment_status": "ok", "deployment_log": ""},
            "device_health_check": lambda given: {
                "status": "healthy",
                "build_signature": f"test-build-{given['expected_commit_sha']}",
                "free_heap": 150_000,
                "uptime_seconds": 5,
            },
            "send_build_failure_notification": self.notified.append,
            "extract_failure_context": lambda given: {"build_dir": f"/tmp/{given['workflow_id']}"},
            "cleanup_build_artifacts": lambda _: None,
            "send_failure_notification": self.notified.append,
            "log_failure_metrics": lambda _: None,
        }
        return [self._function(name, answer) for name, answer in answers.items()]

    def _function(self, name: str, answer: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
        @batuta.task(name, concurrency=2)
        async def act(task: batuta.TaskContext) -> Any:
            self.seen.setdefault(name, []).append(task.input)
            return answer(task.input)

        return act

    def _compile(self, given: dict[str, Any]) -> dict[str, Any]:
        if not self.compiles:
            raise RuntimeError("src/main.cpp:10:3: error: 'x' was not declared in this scope")
        path = f"{given['build_dir']}/firmware.bin"
        return {"firmware_bin_path": path, "build_log": self.build_log, "success": True}

    def _measure(self, given: dict[str, Any]) -> dict[str, Any]:
        usage = {
            name: (percent, used) for name, percent, used in USAGE.findall(given["build_output"])
        }
        return {
            "flash_usage_percent": float(usage["Flash"][0]),
            "flash_usage_bytes": int(usage["Flash"][1]),
            "ram_usage_percent": float(usage["RAM"][0]),
            "ram_usage_bytes": int(usage["RAM"][1]),
            "warning_count": given["build_output"].count("warning:"),
            "build_timestamp": "2025-11-08T10:00:00Z",
        }

    def _judge(self, given: dict[str, Any]) -> dict[str, Any]:
        reasons = []
        if given["flash_usage_percent"] > given["max_flash_percent"]:
            reasons.append(f"Flash usage {given['flash_usage_percent']}% exceeds limit")
        if given["ram_usage_percent"] > given["max_ram_percent"]:
            reasons.append(f"RAM usage {given['ram_usage_percent']}% exceeds limit")
        if given["warning_count"] > given["max_warnings"]:
            reasons.append(f"{given['warning_count']} warnings")
        return {"success": not reasons, "failure_reasons": reasons}


@contextlib.asynccontextmanager
async def working(url: str, team: Team) -> AsyncIterator[None]:
    functions = [f for function in team.functions() for f in task_functions({"f": function})]
    workers = Workers(RemoteTransport(url, "k1"), functions)
    workers.start()
    try:
        yield
    finally:
        await workers.drain(2_000)


async def ended(
    client: Client, workflow_id: str, meanwhile: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Wait until a run has ended, and give it."""
    async with asyncio.timeout(30):
        while True:
            run: dict[str, Any] = await asyncio.to_thread(client.get, f"/workflow/{workflow_id}")
            if run["status"] in ENDED:
                return run
            meanwhile(run)
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def client(k1: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with server(tmp_path_factory.mktemp("k1") / "runs.db") as url:
        client = Client(url)
        register(client, k1)
        yield client
        client.close()


async def test_the_happy_path_deploys_the_firmware(client: Client, k1: Path) -> None:
    team = Team((k1 / "samples" / "pio-log-ok.txt").read_text("utf-8"))
    given = read(k1 / "samples" / "start-firmware-ci-cd-pipeline.json")

    async with working(client.base, team):
        run = await ended(client, client.post(f"/workflow/{PIPELINE}", given))

    assert run["status"] == "COMPLETED"
    assert run["output"] == {
        "build_success": True,
        "firmware_path": "file:///artifacts/737e3d8.bin",
        "deployment_status": "healthy",
    }
    assert references(run) == [
        (name, "COMPLETED")
        for name in (
            "validate_commit",
            "clean_build_env",
            "platformio_compile",
            "extract_build_metrics",
            "validate_build",
            "decision_deploy_or_fail",
            "store_artifact",
            "deploy_firmware_ota",
            "device_health_check",
        )
    ]
    compiled = team.seen["platformio_compile"][0]
    assert compiled["build_dir"] == "/tmp/k1-build-737e3d8", "an expression within a text"
    assert team.seen["store_artifact"][0]["metadata"]["flash_usage"] == 45.6, "a number stays one"
    assert team.notified == []


async def test_a_build_over_its_limits_goes_to_the_default_case(client: Client, k1: Path) -> None:
    sample = k1 / "samples" / "pio-log-flash-70_9-one-warning.txt"
    team = Team(sample.read_text("utf-8"))
    given = read(k1 / "samples" / "start-firmware-ci-cd-pipeline.json")

    async with working(client.base, team):
        run = await ended(client, client.post(f"/workflow/{PIPELINE}", given))

    assert run["status"] == "COMPLETED"
    assert references(run)[-2:] == [
        ("decision_deploy_or_fail", "COMPLETED"),
        ("send_build_failure_notification", "COMPLETED"),
    ]
    assert team.notified == [
        {
            "message": "Firmware build failed validation checks",
            "details": ["Flash usage 70.9% exceeds limit", "1 warnings"],
        }
    ]
    assert run["output"]["build_success"] is False
    assert "deploy_firmware_ota" not in team.seen


async def test_a_compile_failure_starts_the_failure_workflow_after_one_retry(k1: Path) -> None:
    clock = Clock()
    team = Team("", compiles=False)
    given = read(k1 / "samples" / "start-firmware-ci-cd-pipeline.json")
    waits: list[int] = []

    def put_on_the_clock(run: dict[str, Any]) -> None:
        last = run["tasks"][-1]
        if last["retryCount"] == 1 and last["status"] == "SCHEDULED" and not waits:
            waits.append(last["callbackAfterSeconds"])
            clock.put_on(31_000)

    async with serving(clock) as url, working(url, team):
        client = Client(url)
        await asyncio.to_thread(register, client, k1)
        workflow_id = await asyncio.to_thread(client.post, f"/workflow/{PIPELINE}", given)
        run = await ended(client, workflow_id, put_on_the_clock)
        handler_id = run["output"]["conductor.failure_workflow"]
        handler = await ended(client, handler_id)
        client.close()

    assert run["status"] == "FAILED"
    assert references(run)[-2:] == [("platformio_compile", "FAILED")] * 2
    assert waits == [30], "the definition's own delay"
    assert "was not declared in this scope" in run["reasonForIncompletion"]
    assert handler["status"] == "COMPLETED"
    assert handler["workflowName"] == HANDLER
    assert handler["input"]["failed_workflow_id"] == workflow_id
    assert "was not declared in this scope" in handler["input"]["failure_reason"]
    assert handler["input"]["workflowId"] == workflow_id
    assert handler["input"]["commit_sha"] == "737e3d8", "with the input of the run that failed"
    assert team.seen["extract_failure_context"] == [{"workflow_id": workflow_id}]
    assert team.notified[0]["workflow_id"] == workflow_id
    assert team.notified[0]["message"].startswith("Firmware build failed: ")
