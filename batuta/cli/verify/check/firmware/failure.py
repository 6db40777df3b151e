"""What happens when something fails."""

import itertools

from batuta.cli.verify.plant.bench import Bench, output_of, tasks_of
from batuta.cli.verify.plant.scene import (
    expect,
    failure_handler,
    offline_pipeline,
    rehearsed_backoff,
    rollback,
)

PAUSES_S = [60, 120, 240]


def offline(bench: Bench, _: str) -> str:
    """The run fails and says why."""
    run = offline_pipeline(bench)
    expect(run["status"] == "FAILED", f"it is {run['status']}")
    reason = run.get("reasonForIncompletion", "")
    expect("did not answer" in reason, f"the reason is {reason!r}")
    return str(reason.rpartition("reason: ")[2])


def backoff(bench: Bench, _: str) -> str:
    """Four attempts; 60, 120 and 240 seconds between them, in a time of their own."""
    tries = tasks_of(rehearsed_backoff(bench), "deploy_firmware_ota")
    pauses = [(b["startTime"] - a["endTime"]) // 1_000 for a, b in itertools.pairwise(tries)]
    expect(pauses == PAUSES_S, f"between its attempts are {pauses} seconds")
    real = len(tasks_of(offline_pipeline(bench), "deploy_firmware_ota"))
    expect(real == len(tries), f"against a device there were {real} attempts")
    return f"{len(tries)} attempts, {', '.join(map(str, pauses))} s between them"


def handler(bench: Bench, _: str) -> str:
    """The failure workflow ran and knew what had failed."""
    run = failure_handler(bench)
    expect(run["status"] == "COMPLETED", f"it is {run['status']}")
    failed = output_of(run, "extract_failure_context")["failed_task"]
    expect(failed == "deploy_firmware_ota", f"it says that {failed} failed")
    return f"{run['workflowName']} with {len(run['tasks'])} tasks"


def rolled_back(bench: Bench, _: str) -> str:
    """The rollback workflow completed."""
    run = rollback(bench)
    expect(output_of(run, "verify_rollback")["verified"] is True, "it was not verified")
    return f"to {output_of(run, 'fetch_last_good_version')['version'][:12]}"


def restored(bench: Bench, _: str) -> str:
    """The device has the same bytes as before."""
    run = rollback(bench)
    expect(run["before"] == run["after"], "the device has other bytes than before")
    return f"SHA-256 {run['after'][:12]}..."
