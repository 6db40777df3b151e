"""The workers: their package, their process, what the server knows of them."""

import json
import re
import subprocess
import sys

from batuta.cli.verify.plant.bench import ROOT, SUITE, WORKERS, Bench, Json, definitions
from batuta.cli.verify.plant.child import Child, wait_until
from batuta.cli.verify.plant.scene import expect, good_pipeline

COMMAND_S = 30.0


def package(bench: Bench, _: str) -> str:
    """There is a function for each task."""
    _workflows, tasks = definitions()
    wanted = {one["name"] for one in tasks}
    said = _worker(bench).wait_for(r"polls \S+ for (.+)$")[0]
    missing = wanted - set(said.split(", "))
    expect(not missing, f"nobody does {', '.join(sorted(missing))}")
    return f"{WORKERS} does {len(wanted)} kinds of tasks"


def dependencies(bench: Bench, _: str) -> str:
    """It loads with what Batuta itself needs, and no more."""
    code = (
        f"import sys, {WORKERS}; "
        "print(len([m for m in sys.modules if m.startswith('examples.firmware_ci')]))"
    )
    done = _python(bench, "-W", "error", "-c", code)
    expect(done.returncode == 0, done.stderr.strip()[-200:])
    return f"its {done.stdout.strip()} modules load"


def compiles(bench: Bench, _: str) -> str:
    """Every file compiles."""
    files = sorted(str(path) for path in SUITE.rglob("*.py"))
    code = (
        "import ast, pathlib, sys; [ast.parse(pathlib.Path(f).read_text()) for f in sys.argv[1:]]"
    )
    done = _python(bench, "-W", "error", "-c", code, *files)
    expect(done.returncode == 0, done.stderr.strip()[-200:])
    return f"{len(files)} files"


def settings(bench: Bench, _: str) -> str:
    """The settings that everything here was told are understood."""
    done = _python(bench, "-m", "batuta", "config", "-o", "json")
    expect(done.returncode == 0, done.stderr.strip()[-200:])
    expect("warning" not in done.stderr, done.stderr.strip())
    return f"{len(json.loads(done.stdout))} settings, none is unknown"


def storage(bench: Bench, _: str) -> str:
    """The folder of artifacts takes a file."""
    good_pipeline(bench)
    probe = bench.artifacts / "firmware" / ".probe"
    probe.write_bytes(b"x")
    probe.unlink()
    return f"{bench.artifacts} can be written"


def starts(bench: Bench, _: str) -> str:
    """They are up."""
    worker = _worker(bench)
    expect(worker.is_alive, f"they have ended: {worker.lines[-3:]}")
    return f"process {worker.process.pid}"


def registered(bench: Bench, _: str) -> str:
    """Each kind of task has been asked for."""
    _workflows, tasks = definitions()
    wanted = {one["name"] for one in tasks}

    def missing() -> set[str]:
        return wanted - {one["queueName"] for one in _polls(bench)}

    wait_until(lambda: not missing(), "a worker of every task")
    return f"the server knows a worker of each of {len(wanted)} tasks"


def polls(bench: Bench, _: str) -> str:
    """They ask again and again."""
    registered(bench, "")
    before = {one["queueName"]: one["lastPollTime"] for one in _polls(bench)}

    def has_polled() -> bool:
        return all(one["lastPollTime"] > before[one["queueName"]] for one in _polls(bench))

    wait_until(has_polled, "each worker to poll again")
    return f"all {len(before)} have polled again"


def quiet(bench: Bench, _: str) -> str:
    """Their log has no error."""
    good_pipeline(bench)
    trouble = _worker(bench).trouble()
    expect(not trouble, f"it says {trouble[:1]}")
    return f"{len(_worker(bench).lines)} lines, none of an error"


def _worker(bench: Bench) -> Child:
    worker = bench.server.worker
    assert worker is not None, "the bench has started it"
    return worker


def _polls(bench: Bench) -> list[Json]:
    found: list[Json] = bench.server.call("get", "/tasks/queue/polldata/all")
    return [one for one in found if re.fullmatch(r"\w+", one["queueName"])]


def _python(bench: Bench, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603  the command is ours
        [sys.executable, *arguments],
        env={**bench.environment, "PYTHONPATH": str(ROOT)},
        cwd=bench.home,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
