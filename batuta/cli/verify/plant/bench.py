"""The plant under check: two servers, their workers, eleven devices, and a project to build.

Definitions, workers and the device simulator are those of examples/firmware_ci. Nothing of it
outlives the check, and nothing outside is changed but `k1-build-...` folders of temporary files.
"""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import batuta
from batuta.cli.checklist.item import CheckError
from batuta.cli.client import Client
from batuta.cli.process import next_free_port
from batuta.cli.verify.plant.child import Child, wait_until
from batuta.cli.verify.plant.wire import fetch
from batuta.model.error import BatutaError, NotFoundError

ROOT = Path(batuta.__file__).parents[1]
SUITE = ROOT / "examples" / "firmware_ci" / "suite"
WORKERS = "examples.firmware_ci.suite.workers"
SIMULATOR = "examples.firmware_ci.suite.simulator"
PIPELINE, QUICK = "firmware-ci-cd-pipeline", "firmware-ci-cd-pipeline-quick"
ENVIRONMENT = "esp32-s3-devkitc-1"
DEVICE_IP = "192.168.1.104"
DEVICES = 10  # besides the usual one: one for each pipeline under load
ENDED = frozenset({"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"})
RUN_S = 60.0
DOOR_PORT = 3000  # from here on a free one is looked for
_OURS = (
    *("BATUTA_", "CONDUCTOR_", "K1_", "PLATFORMIO_", "ARTIFACT_", "GITHUB_", "SLACK_"),
    *("PG", "PORT", "LOG_LEVEL"),
)

Json = dict[str, Any]


class Server:
    """A server with its workers."""

    def __init__(self, bench: "Bench", name: str, **settings: str) -> None:
        self.db = bench.home / name / "runs.db"
        self.db.parent.mkdir(exist_ok=True)
        self._bench, self._settings = bench, settings
        self.worker: Child | None = None
        self.start()

    def start(self) -> None:
        """Serve its database."""
        options = ["serve", "--port", "0", "--db", str(self.db), "--log-level", "warning"]
        told = self._bench.environment | self._settings
        self.child = self._bench.spawn(["-m", "batuta", *options], told, self.db.parent)
        self.url = self.child.wait_for(r"serves at (http://\S+)")[0]

    def start_worker(self) -> None:
        """Start the workers of all tasks on it."""
        told = self._bench.environment | {"CONDUCTOR_SERVER_URL": f"{self.url}/api"}
        command = ["-m", "batuta", "worker", WORKERS, "--until-stdin-ends"]
        self.worker = self._bench.spawn(command, told, ROOT)
        self.worker.wait_for("(polls)")

    def call(self, method: str, path: str, *body: Any) -> Any:
        """Call its API."""
        with closing(Client(self.url)) as client:
            return getattr(client, method)(path, *body)

    def begin(self, name: str, given: Mapping[str, Any]) -> str:
        """Start a run; give its id."""
        return str(self.call("post", f"/workflow/{name}", dict(given)))

    def run(self, name: str, given: Mapping[str, Any]) -> Json:
        """Start a run and give it once it has ended."""
        return self.end(self.begin(name, given))

    def end(self, workflow_id: str, limit_s: float = RUN_S) -> Json:
        """Give a run once it has ended."""
        found: Json = {}

        def has_ended() -> bool:
            found.update(self.call("get", f"/workflow/{workflow_id}"))
            return found["status"] in ENDED

        wait_until(has_ended, f"run {workflow_id} to end", limit_s)
        return found


class Bench:
    """Everything that is checked. ``open`` starts it, ``close`` ends what was started."""

    def __init__(self, home: Path) -> None:
        if not SUITE.is_dir():
            raise NotFoundError(
                f"there is no folder {str(SUITE)!r}; `batuta verify firmware` runs in a clone of "
                "the repository"
            )
        self.home = home
        self.secret = secrets.token_hex(16)
        self.door = next_free_port("127.0.0.1", DOOR_PORT)
        self.children: list[Child] = []
        self.commits: list[str] = []
        self.seen: dict[str, Any] = {}
        self.project = home / "project"
        self.artifacts = home / "artifacts"
        shutil.copytree(SUITE / "project", self.project)
        self.environment = _cleaned(os.environ)
        self.runs: list[Json] = []

    def open(self) -> None:
        """Start the devices, the server and its workers.

        Raises:
            CheckError: One of them does not start.
        """
        self._start_devices()
        self.server = Server(
            self,
            "first",
            BATUTA_GITHUB_WEBHOOK_SECRET=self.secret,
            BATUTA_LISTEN=f"{self.door}=firmware",
        )
        self._register()
        self.server.start_worker()

    def _start_devices(self) -> None:
        count = 1 + DEVICES
        options = ["--http-port", "0", "--ota-port", "0", "--count", str(count)]
        command = ["-m", SIMULATOR, *options, "--until-stdin-ends"]
        child = self.spawn(command, self.environment, ROOT)
        found = child.wait_for(r"the device is at (\S+)", count)
        ips = [DEVICE_IP, *self.ips]
        self.device = "http://" + found[0].rpartition(":")[0]
        self.environment |= {
            "ARTIFACT_STORAGE_PATH": str(self.artifacts),
            "PLATFORMIO_PROJECT_PATH": str(self.project),
            "K1_COMPILER": "stand-in",
            "K1_DEVICE_IP": DEVICE_IP,
            "K1_DEVICE_MAP": ",".join(f"{a}={b}" for a, b in zip(ips, found, strict=True)),
            "K1_OBSERVE_PERCENT": "5",
            "K1_OTA_WAIT_S": "3",
            "K1_RESTART_S": "5",
        }

    def _register(self) -> None:
        """Store the definitions, and the pipeline once more with retries that do not wait."""
        workflows, tasks = definitions()
        quick = json.loads(json.dumps(next(one for one in workflows if one["name"] == PIPELINE)))
        quick["name"] = QUICK
        retries = {task["name"]: task["retryCount"] for task in tasks}
        for task in _simple_tasks(quick["tasks"]):
            task |= {"retryCount": retries[task["name"]], "retryDelaySeconds": 0}
        self.server.call("post", "/metadata/taskdefs", tasks)
        self.server.call("put", "/metadata/workflow", [*workflows, quick])

    @property
    def ips(self) -> list[str]:
        """The devices of the pipelines under load."""
        return [f"10.0.0.{number}" for number in range(1, DEVICES + 1)]

    def spawn(self, arguments: list[str], environment: Mapping[str, str], cwd: Path) -> Child:
        """Start a Python program beside us."""
        told = {**environment, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "NO_COLOR": "1"}
        child = Child([sys.executable, *arguments], told, cwd)
        self.children.append(child)
        return child

    def commit(self, *, flash_bytes: int = 0, source: str = "") -> str:
        """Make a check-out of a new commit; give its hash."""
        sha = secrets.token_hex(20)
        self.commits.append(sha)
        checkout = self.project / sha
        shutil.copytree(SUITE / "project", checkout)
        if flash_bytes:
            line = f"framework = arduino\ncustom_flash_bytes = {flash_bytes}"
            ini = checkout / "platformio.ini"
            ini.write_text(ini.read_text("utf-8").replace("framework = arduino", line), "utf-8")
        if source:
            (checkout / "src" / "more.cpp").write_text(source, "utf-8")
        return sha

    def given(self, sha: str, **more: str) -> Json:
        """Give the input of a pipeline."""
        base = {"repo": "K1.node1", "branch": "main", "commit_sha": sha}
        return {**base, "environment": ENVIRONMENT, **more}

    def pipeline(self, sha: str, name: str = PIPELINE) -> Json:
        """Run the pipeline of a commit to its end, and remember it."""
        run = self.server.run(name, self.given(sha))
        self.runs.append(run)
        return run

    def ask_device(self, path: str, body: Any = None) -> Any:
        """Ask the usual device, or change it."""
        status, content = fetch(self.device + path, None if body is None else json.dumps(body))
        if status >= 300:
            raise CheckError(f"the device answers {path} with {status}")
        return json.loads(content)

    def switch(self, **switches: Any) -> None:
        """Change how the usual device is."""
        self.ask_device("/simulator", switches)

    def close(self) -> None:
        """End every process, and remove what builds left."""
        for child in reversed(self.children):
            child.stop()
        for sha in self.commits:
            shutil.rmtree(Path("/tmp") / f"k1-build-{sha}", ignore_errors=True)  # noqa: S108


def definitions() -> tuple[list[Json], list[Json]]:
    """Give the definitions of the suite: of workflows, and of tasks."""
    folder = SUITE / "definitions"
    workflows = [
        json.loads(path.read_text("utf-8"))
        for path in sorted(folder.glob("*.json"))
        if path.name != "tasks.json"
    ]
    return workflows, json.loads((folder / "tasks.json").read_text("utf-8"))


def output_of(run: Json, reference: str) -> Json:
    """Give the output of a task's last attempt.

    Raises:
        CheckError: The run has no such task.
    """
    found = tasks_of(run, reference)
    if not found:
        raise CheckError(f"run {run['workflowId']} has no task {reference}: it is {run['status']}")
    output: Json = found[-1].get("outputData", {})
    return output


def tasks_of(run: Json, reference: str) -> list[Json]:
    """Give the attempts at a task, the first one first."""
    return [task for task in run["tasks"] if task["referenceTaskName"] == reference]


def seconds_of(run: Json) -> float:
    """Give how long a run took."""
    return float(run["endTime"] - run["startTime"]) / 1_000


def timed(server: Server, path: str) -> float:
    """Give how many seconds an answer takes.

    Raises:
        CheckError: It is an error.
    """
    began_s = time.monotonic()
    try:
        server.call("get", path)
    except BatutaError as error:
        raise CheckError(f"GET {path}: {error.message}") from error
    return time.monotonic() - began_s


def _simple_tasks(tasks: list[Json]) -> list[Json]:
    found = [task for task in tasks if task["type"] == "SIMPLE"]
    for task in tasks:
        for branch in (*task.get("decisionCases", {}).values(), task.get("defaultCase", [])):
            found += _simple_tasks(branch)
    return found


def _cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out whatever a setting might be read from."""
    return {key: value for key, value in environment.items() if not key.startswith(_OURS)}
