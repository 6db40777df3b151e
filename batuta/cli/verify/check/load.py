"""How long it takes, and what it takes, with ten pipelines at once."""

import os
import shutil
import statistics
import time

from batuta.cli.verify.plant.bench import Bench, Json, output_of, seconds_of, timed
from batuta.cli.verify.plant.child import wait_until
from batuta.cli.verify.plant.scene import expect, good_pipeline, once, pattern

CONCURRENT = 10
ROUNDS = 3  # the first one fills what is filled once
PIPELINE_S_MAX, PATTERN_S_MAX = 600.0, 300.0
CPU_PERCENT_MAX = 80.0
BYTES_MAX = 2_000_000_000
GROWTH_BYTES_MAX = 30_000_000  # from the second round to the last
ANSWER_S_MAX = 0.25
ARTIFACTS_KEPT = 12  # the last ten, and what a rollback needs


@once
def loaded(bench: Bench) -> Json:
    """Run ten pipelines at once, three times, each with a device of its own."""
    server, worker = bench.server, bench.server.worker
    assert worker is not None, "the bench has started it"
    children = {"server": server.child, "workers": worker}
    runs: list[Json] = []
    sizes: list[dict[str, int]] = []
    answers_s: list[float] = []
    busy_s, began_s = sum(one.cpu_s() for one in children.values()), time.monotonic()
    for _ in range(ROUNDS):
        ids = [
            server.begin("firmware-ci-cd-pipeline", bench.given(bench.commit(), device_ip=ip))
            for ip in bench.ips
        ]
        while server.call("get", f"/workflow/{ids[-1]}/status")["status"] == "RUNNING":
            answers_s.append(timed(server, f"/workflow/{ids[0]}"))
        runs += [server.end(one) for one in ids]
        sizes.append({name: one.size_bytes() for name, one in children.items()})
    wall_s = time.monotonic() - began_s
    bench.runs += runs
    cores = os.cpu_count() or 1
    busy_s = sum(one.cpu_s() for one in children.values()) - busy_s
    return {
        "runs": runs,
        "sizes": sizes,
        "answers_s": answers_s,
        "cpu_percent": 100 * busy_s / wall_s / cores,
        "wall_s": wall_s,
    }


def pipeline_time(bench: Bench, _: str) -> str:
    """The slowest pipeline is fast enough; a compiler of your own takes its time besides."""
    slowest = max(seconds_of(run) for run in [good_pipeline(bench), *loaded(bench)["runs"]])
    expect(slowest < PIPELINE_S_MAX, f"it takes {slowest:.1f} s")
    return f"{slowest:.2f} s at most, with the compiler that is here"


def pattern_time(bench: Bench, _: str) -> str:
    """The pattern test is fast enough, were the device watched for the whole 30 seconds."""
    seconds = seconds_of(pattern(bench)) + 30
    expect(seconds < PATTERN_S_MAX, f"it takes {seconds:.1f} s")
    return f"{seconds:.1f} s with the device watched for 30 s"


def no_timeouts(bench: Bench, _: str) -> str:
    """No task of any run timed out."""
    loaded(bench)
    late = [
        task["referenceTaskName"]
        for run in bench.runs
        for task in run["tasks"]
        if task["status"] == "TIMED_OUT"
    ]
    expect(not late, f"{', '.join(late)} timed out")
    return f"{len(bench.runs)} runs"


def no_leak(bench: Bench, _: str) -> str:
    """The workers are not larger after the last round than after the second."""
    sizes = [one["workers"] for one in loaded(bench)["sizes"]]
    growth = sizes[-1] - sizes[1]
    expect(growth < GROWTH_BYTES_MAX, f"they grew by {growth / 1e6:.0f} MB in a round")
    return f"{growth / 1e6:+.1f} MB in the last round"


def cpu(bench: Bench, _: str) -> str:
    """Both together leave a part of the machine."""
    percent = loaded(bench)["cpu_percent"]
    expect(percent < CPU_PERCENT_MAX, f"they take {percent:.0f} %")
    return f"{percent:.0f} % of {os.cpu_count()} cores"


def memory(bench: Bench, _: str) -> str:
    """Each is small enough."""
    largest = {
        name: max(one[name] for one in loaded(bench)["sizes"]) for name in ("server", "workers")
    }
    expect(max(largest.values()) < BYTES_MAX, f"they are {largest}")
    return ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in largest.items())


def disk(bench: Bench, _: str) -> str:
    """What is kept fits many times over."""
    loaded(bench)
    files = list((bench.artifacts / "firmware").glob("*.bin"))
    needed = ARTIFACTS_KEPT * max(path.stat().st_size for path in files)
    free = shutil.disk_usage(bench.artifacts).free
    expect(free > 10 * needed, f"{free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB are kept")
    return f"{len(files)} are kept, {free / 1e9:.1f} GB are free"


def alive(bench: Bench, _: str) -> str:
    """Server and workers are the same processes as at the beginning."""
    loaded(bench)
    worker = bench.server.worker
    assert worker is not None, "the bench has started it"
    expect(bench.server.child.is_alive and worker.is_alive, "one of them has ended")
    return f"processes {bench.server.child.process.pid} and {worker.process.pid}"


def concurrent(bench: Bench, _: str) -> str:
    """All of them completed, each on a device of its own."""
    found = loaded(bench)
    bad = [run["status"] for run in found["runs"] if run["status"] != "COMPLETED"]
    expect(not bad, f"{len(bad)} of {len(found['runs'])} are {bad[:1]}")
    states = {output_of(run, "device_health_check")["status"] for run in found["runs"]}
    expect(states == {"healthy"}, f"the devices are {states}")
    return f"{ROUNDS} times {CONCURRENT} in {found['wall_s']:.1f} s"


def no_backlog(bench: Bench, _: str) -> str:
    """The queues are empty."""
    loaded(bench)
    queues: dict[str, int] = {}

    def is_empty() -> bool:
        queues.clear()
        queues.update(bench.server.call("get", "/tasks/queue/all"))
        return not any(queues.values())

    wait_until(is_empty, "the queues to be empty")
    return f"{len(queues)} queues, all are empty"


def quiet(bench: Bench, _: str) -> str:
    """Neither log has an error."""
    loaded(bench)
    worker = bench.server.worker
    assert worker is not None, "the bench has started it"
    trouble = [*worker.trouble(), *bench.server.child.trouble()]
    expect(not trouble, f"{len(trouble)} lines, as {trouble[:1]}")
    return "no line of an error"


def answers(bench: Bench, _: str) -> str:
    """The server answers others meanwhile."""
    found = loaded(bench)["answers_s"]
    expect(found, "the load was over before it could be asked")
    median, slowest = statistics.median(found), max(found)
    expect(median < ANSWER_S_MAX, f"half of them take more than {median * 1_000:.0f} ms")
    return f"{median * 1_000:.0f} ms in the middle, {slowest * 1_000:.0f} ms at most"
