"""After a failure: what happened, what is left behind, and back to what worked."""

import json
import shutil
from datetime import UTC, datetime
from typing import Any

import batuta
from batuta.workers.outcome import Outcome
from examples.firmware_ci.suite import notice, place
from examples.firmware_ci.suite.firmware import artifact
from examples.firmware_ci.suite.over_air import answers
from examples.firmware_ci.suite.over_air.flash import flash
from examples.firmware_ci.suite.report import failed
from examples.firmware_ci.suite.server import run_of, task_of
from examples.firmware_ci.suite.web import UnreachableError

LOG_CHARACTERS = 2_000  # of the end of a build log


@batuta.task("extract_failure_context")
def extract_failure_context(workflow_id: str) -> dict[str, Any]:
    """Look the failed run up: which task it was, where it built, how its log ends."""
    run = run_of(workflow_id)
    compiled = task_of(run, "platformio_compile")
    bad = [task for task in run["tasks"] if task["status"] in {"FAILED", "TIMED_OUT"}]
    log = str(compiled.get("outputData", {}).get("build_log", ""))
    return {
        "build_dir": task_of(run, "clean_build_env").get("inputData", {}).get("build_dir"),
        "failed_task": bad[-1]["referenceTaskName"] if bad else None,
        "attempts": sum(task["referenceTaskName"] == bad[-1]["referenceTaskName"] for task in bad)
        if bad
        else 0,
        "reason": run.get("reasonForIncompletion"),
        "commit_sha": run["input"].get("commit_sha"),
        "log_end": log[-LOG_CHARACTERS:],
    }


@batuta.task("cleanup_build_artifacts")
def cleanup_build_artifacts(build_dir: str | None = None) -> dict[str, Any]:
    """Remove the folder of a build, if there is one."""
    if not build_dir:
        return {"removed": False}
    try:
        folder = place.build_folder(build_dir)
    except place.RefusedError as error:
        raise batuta.FatalError(str(error)) from error
    was_there = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    return {"removed": was_there}


@batuta.task("send_failure_notification")
def send_failure_notification(
    message: str, channel: str = "slack", workflow_id: str | None = None
) -> dict[str, Any]:
    """Say which run failed and why."""
    return notice.tell(message, channel=channel, workflow_id=workflow_id)


@batuta.task("log_failure_metrics")
def log_failure_metrics(failure_type: str, reason: str | None = None) -> dict[str, Any]:
    """Count a failure; `reports/failures.jsonl` has each."""
    path = place.folder("reports") / "failures.jsonl"
    row = {"at": datetime.now(UTC).isoformat(), "type": failure_type, "reason": reason}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    rows = path.read_text("utf-8").splitlines()
    return {"failure_type": failure_type, "total": len(rows)}


@batuta.task("fetch_last_good_version")
def fetch_last_good_version(device_ip: str | None = None) -> dict[str, Any]:
    """Find what the device was last healthy with."""
    ip = place.device_ip(device_ip)
    found = artifact.last_good(ip)
    if found is None:
        raise batuta.FatalError(f"no version is known to be good: none was healthy on {ip} yet")
    return {
        "version": found.version,
        "artifact_url": found.url,
        "checksum": found.about["checksum"],
        "device_ip": ip,
    }


@batuta.task("rollback_firmware")
def rollback_firmware(
    firmware_artifact: str, task: batuta.TaskContext, device_ip: str | None = None
) -> dict[str, Any] | Outcome:
    """Send the stored binary of a version that worked."""
    try:
        return flash(device_ip, firmware_artifact, task.log)
    except (place.RefusedError, FileNotFoundError) as error:
        raise batuta.FatalError(str(error)) from error


@batuta.task("verify_rollback")
def verify_rollback(
    expected_version: str, device_ip: str | None = None
) -> dict[str, Any] | Outcome:
    """Ask the device whether it runs that version."""
    ip = place.device_ip(device_ip)
    try:
        said = answers.wait_until(
            ip, lambda info: expected_version in info.build_signature, place.restart_s()
        )
    except UnreachableError as error:
        return failed(f"device {ip} is offline: {error}", {"verified": False})
    output = {"build_signature": said.build_signature, "device_ip": ip}
    if expected_version not in said.build_signature:
        text = f"device {ip} runs {said.build_signature!r}, not {expected_version}"
        return failed(text, {"verified": False, **output})
    return {"verified": True, **output}


@batuta.task("send_rollback_notification")
def send_rollback_notification(
    message: str, channel: str = "slack", workflow_id: str | None = None
) -> dict[str, Any]:
    """Say that a device is back at what worked."""
    return notice.tell(message, channel=channel, workflow_id=workflow_id)
