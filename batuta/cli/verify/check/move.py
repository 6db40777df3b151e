"""Moving to a second server, and back from a backup."""

import hashlib
import shutil
import tarfile
from typing import Any

from batuta.cli.verify.check.simple import DOCUMENT
from batuta.cli.verify.check.worker import _python
from batuta.cli.verify.plant.bench import (
    PIPELINE,
    Bench,
    Json,
    Server,
    definitions,
    output_of,
    seconds_of,
)
from batuta.cli.verify.plant.child import wait_until
from batuta.cli.verify.plant.scene import expect, good_pipeline, once

WAITING: Json = {
    "name": "verify-waiting",
    "version": 1,
    "outputParameters": {"answer": "${gate.output.answer}"},
    "tasks": [{"name": "gate", "taskReferenceName": "gate", "type": "WAIT"}],
}
# What time and place say differs from server to server.
_OWN = {"uptime_seconds", "build_timestamp", "build_log", "deployment_log", "firmware_bin_path"}


def volume(bench: Bench, _: str) -> str:
    """Runs are counted."""
    good_pipeline(bench)
    found = bench.server.call("get", "/admin/stats")["workflows"]
    expect(sum(found.values()) > 0, f"it says {found}")
    return f"{sum(found.values())} runs: {found}"


def workflows(bench: Bench, _: str) -> str:
    """Every workflow definition is in the export."""
    names = {one["name"] for one in _exported(bench)[0]}
    missing = {one["name"] for one in definitions()[0]} - names
    expect(not missing, f"it lacks {', '.join(sorted(missing))}")
    return f"{len(names)} definitions"


def tasks(bench: Bench, _: str) -> str:
    """Every task definition is in the export."""
    names = {one["name"] for one in _exported(bench)[1]}
    missing = {one["name"] for one in definitions()[1]} - names
    expect(not missing, f"it lacks {', '.join(sorted(missing))}")
    return f"{len(names)} definitions"


def artifacts(bench: Bench, _: str) -> str:
    """An archive of the artifacts has the same bytes."""
    good_pipeline(bench)
    archive = bench.home / "artifacts.tar"
    with tarfile.open(archive, "w") as writer:
        writer.add(bench.artifacts, "artifacts")
    copy = bench.home / "copy"
    with tarfile.open(archive) as reader:
        reader.extractall(copy, filter="data")
    found = sorted((bench.artifacts / "firmware").glob("*.bin"))
    for path in found:
        other = copy / "artifacts" / "firmware" / path.name
        expect(_sum(path.read_bytes()) == _sum(other.read_bytes()), f"{path.name} differs")
    return f"{len(found)} binaries, equal byte by byte"


@once
def _exported(bench: Bench) -> tuple[list[Json], list[Json]]:
    call = bench.server.call
    return call("get", "/metadata/workflow"), call("get", "/metadata/taskdefs")


@once
def second(bench: Bench) -> Server:
    """A second server with the exported definitions and workers of its own."""
    server = Server(bench, "second")
    exported = _exported(bench)
    server.call("post", "/metadata/taskdefs", exported[1])
    server.call("put", "/metadata/workflow", exported[0])
    server.start_worker()
    return server


def imported_workflows(bench: Bench, _: str) -> str:
    """What it has is what it was given."""
    return _imported(bench, 0, "/metadata/workflow")


def imported_tasks(bench: Bench, _: str) -> str:
    """What it has is what it was given."""
    return _imported(bench, 1, "/metadata/taskdefs")


def listed(bench: Bench, _: str) -> str:
    """It lists every name."""
    names = set(second(bench).call("get", "/metadata/workflow/names"))
    missing = {one["name"] for one in _exported(bench)[0]} - names
    expect(not missing, f"it does not list {', '.join(sorted(missing))}")
    return f"{len(names)} names"


def settings(bench: Bench, _: str) -> str:
    """The workers say the second server's address."""
    worker = second(bench).worker
    assert worker is not None, "it was started with the server"
    said = worker.wait_for(r"polls (\S+) for")[0]
    expect(said.startswith(second(bench).url), f"they poll {said}")
    return f"CONDUCTOR_SERVER_URL={said}"


def workers(bench: Bench, _: str) -> str:
    """The second server knows a worker of every task."""
    wanted = {one["name"] for one in definitions()[1]}

    def missing() -> set[str]:
        found = second(bench).call("get", "/tasks/queue/polldata/all")
        return wanted - {one["queueName"] for one in found}

    wait_until(lambda: not missing(), "the workers of the second server")
    return f"{len(wanted)} kinds of tasks"


def simple(bench: Bench, _: str) -> str:
    """A workflow of its own runs there."""
    server = second(bench)
    server.call("put", "/metadata/workflow", [DOCUMENT])
    workflow_id = server.begin(DOCUMENT["name"], {"a": 40})
    path = f"/tasks/{workflow_id}/add/COMPLETED"
    server.call("post", path, {"sum": 42})
    run = server.end(workflow_id)
    expect(run["output"] == {"sum": 42}, f"its output is {run['output']}")
    return f"run {workflow_id} is {run['status']}"


@once
def pair(bench: Bench) -> tuple[Json, Json]:
    """The same commit through the pipeline of each server."""
    sha = bench.commit()
    first = bench.server.run(PIPELINE, bench.given(sha))
    return first, second(bench).run(PIPELINE, bench.given(sha))


def both(bench: Bench, _: str) -> str:
    """Both complete."""
    states = [run["status"] for run in pair(bench)]
    expect(states == ["COMPLETED"] * 2, f"they are {states}")
    return "both completed"


def times(bench: Bench, _: str) -> str:
    """The times are known; how much they may differ is yours to say."""
    first, other = (seconds_of(run) for run in pair(bench))
    return f"{first:.2f} s and {other:.2f} s"


def outputs(bench: Bench, _: str) -> str:
    """The outputs of the runs are equal."""
    first, other = pair(bench)
    expect(first["output"] == other["output"], f"{first['output']} is not {other['output']}")
    return f"{first['output']['deployment_status']}, the same artifact"


def no_regression(bench: Bench, _: str) -> str:
    """Task by task the same, but for what time and place say."""
    shown = [[_told(run, task) for task in run["tasks"]] for run in pair(bench)]
    other = [a[0] for a, b in zip(*shown, strict=True) if a != b]
    expect(not other, f"{', '.join(other)} went another way")
    return f"{len(shown[0])} tasks are equal"


def stopped(bench: Bench, _: str) -> str:
    """It ends well; from here on it is gone."""
    worker = bench.server.worker
    assert worker is not None, "the bench has started it"
    codes = [worker.stop(), bench.server.child.stop()]
    expect(codes == [0, 0], f"workers and server ended with {codes}")
    return "workers and server ended with 0"


def archived(bench: Bench, _: str) -> str:
    """The copied database is scanned, and breaks no rule."""
    expect(not bench.server.child.is_alive, "the server still runs")
    archive = bench.home / "archive"
    shutil.copytree(bench.server.db.parent, archive)
    done = _python(bench, "-m", "batuta", "doctor", "--port", "0", "--db", str(archive / "runs.db"))
    expect("all rules hold" in done.stdout, done.stdout.strip()[-200:])
    return "the copy is scanned: all rules hold"


def recovered(bench: Bench, _: str) -> str:
    """A waiting run is there again after its server's folder was lost, and goes on."""
    server = second(bench)
    server.call("put", "/metadata/workflow", [WAITING])
    workflow_id = server.begin(WAITING["name"], {})
    server.child.stop()
    kept = bench.home / "kept"
    shutil.copytree(server.db.parent, kept)
    shutil.rmtree(server.db.parent)
    shutil.copytree(kept, server.db.parent)
    server.start()
    server.call("post", f"/tasks/{workflow_id}/gate/COMPLETED", {"answer": 42})
    run = server.end(workflow_id)
    expect(run["output"] == {"answer": 42}, f"its output is {run['output']}")
    return f"run {workflow_id} waited through it and completed"


def _imported(bench: Bench, place: int, path: str) -> str:
    own = {"createTime", "updateTime", "createdBy", "updatedBy"}

    def shown(documents: list[Json]) -> dict[str, Any]:
        return {one["name"]: {k: v for k, v in one.items() if k not in own} for one in documents}

    wanted, found = shown(_exported(bench)[place]), shown(second(bench).call("get", path))
    other = [name for name, document in wanted.items() if found.get(name) != document]
    expect(not other, f"{', '.join(other)} differ")
    return f"{len(wanted)} definitions, equal to the export"


def _told(run: Json, task: Json) -> tuple[str, str, Json]:
    name = task["referenceTaskName"]
    output = {key: value for key, value in output_of(run, name).items() if key not in _OWN}
    return name, task["status"], output


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
