"""From a commit to a device that runs it: the workers of the pipeline."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import batuta
from batuta.workers.outcome import Outcome
from examples.firmware_ci.suite import notice
from examples.firmware_ci.suite.firmware import artifact
from examples.firmware_ci.suite.firmware.build import Built, compile_project
from examples.firmware_ci.suite.firmware.log import read_log
from examples.firmware_ci.suite.over_air import answers
from examples.firmware_ci.suite.over_air.flash import flash
from examples.firmware_ci.suite.place import (
    RefusedError,
    build_folder,
    device_ip,
    project_of,
    restart_s,
)
from examples.firmware_ci.suite.report import failed
from examples.firmware_ci.suite.web import UnreachableError

COMMIT_CHARACTERS_MIN = 7
HEAP_BYTES_MIN = 50_000  # with less, the device drops audio and then frames
_COMMIT = re.compile(rf"[0-9a-f]{{{COMMIT_CHARACTERS_MIN},64}}")


@batuta.task("validate_commit")
def validate_commit(repo: str, commit_sha: str) -> dict[str, Any]:
    """Refuse what cannot be a commit: no later attempt would find it."""
    if not repo or not _COMMIT.fullmatch(commit_sha):
        raise batuta.FatalError(
            f"{commit_sha!r} of {repo!r} is no commit: {COMMIT_CHARACTERS_MIN} to 64 "
            "hexadecimal digits"
        )
    return {"valid": True, "reason": None}


@batuta.task("clean_build_env")
def clean_build_env(build_dir: str) -> dict[str, Any]:
    """Remove what another build left in a folder of builds, and in no other."""
    folder = _build_folder(build_dir)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return {"cleaned": True}


@batuta.task("platformio_compile", concurrency=4)
def platformio_compile(
    commit_sha: str, environment: str, build_dir: str, task: batuta.TaskContext
) -> dict[str, Any] | Outcome:
    """Build the project of a commit; the compiler's lines are the task's log."""
    try:
        built = compile_project(
            project_of(commit_sha), environment, commit_sha, _build_folder(build_dir), task.log
        )
    except RefusedError as error:
        raise batuta.FatalError(str(error)) from error
    output = _told(built)
    return output if built.binary else failed(built.error, output)


@batuta.task("extract_build_metrics")
def extract_build_metrics(build_output: str, firmware_path: str) -> dict[str, Any]:
    """Get the numbers out of the log."""
    try:
        built_s = Path(firmware_path).stat().st_mtime
    except OSError as error:
        raise batuta.FatalError(f"there is no binary: {error}") from error
    return {
        **read_log(build_output),
        "build_timestamp": datetime.fromtimestamp(built_s, UTC).isoformat(),
    }


@batuta.task("validate_build")
def validate_build(
    flash_usage_percent: float,
    ram_usage_percent: float,
    warning_count: int,
    max_flash_percent: float = 70,
    max_ram_percent: float = 80,
    max_warnings: int = 0,
) -> dict[str, Any]:
    """Hold a build to its limits: memory below them, warnings not above; 70.9 is over 70."""
    reasons = [
        f"{name} usage {percent}% is not below {limit}%"
        for name, percent, limit in (
            ("Flash", flash_usage_percent, max_flash_percent),
            ("RAM", ram_usage_percent, max_ram_percent),
        )
        if percent >= limit
    ]
    if warning_count > max_warnings:
        reasons.append(f"{warning_count} warnings, {max_warnings} are allowed")
    return {"success": not reasons, "failure_reasons": reasons}


@batuta.task("store_artifact")
def store_artifact(firmware_path: str, version: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Keep the binary and what is known of it; done twice it is done once."""
    about = {
        "branch": metadata.get("branch"),
        "build_timestamp": metadata.get("build_time"),
        "flash_usage_percent": metadata.get("flash_usage"),
    }
    try:
        kept = artifact.store(_binary(firmware_path), version, about)
    except RefusedError as error:
        raise batuta.FatalError(str(error)) from error
    return {
        "artifact_url": kept.url,
        "artifact_id": f"firmware-{version}",
        "checksum": kept.about["checksum"],
    }


@batuta.task("deploy_firmware_ota", concurrency=4)
def deploy_firmware_ota(
    firmware_path: str, task: batuta.TaskContext, device_ip: str | None = None
) -> dict[str, Any] | Outcome:
    """Send the stored binary over the air."""
    try:
        return flash(device_ip, firmware_path, task.log)
    except (RefusedError, FileNotFoundError) as error:
        raise batuta.FatalError(str(error)) from error


@batuta.task("device_health_check")
def device_health_check(
    expected_commit_sha: str, task: batuta.TaskContext, device_ip: str | None = None
) -> dict[str, Any] | Outcome:
    """Ask a device what it runs and how much memory it has left; mark what is known to be good."""
    ip = _device(device_ip)
    try:
        said = answers.wait_until(
            ip, lambda info: expected_commit_sha in info.build_signature, restart_s()
        )
        heap = answers.free_heap(ip, said)
    except UnreachableError as error:
        return failed(f"device {ip} is offline: {error}", {"status": "offline"})
    output = {
        "build_signature": said.build_signature,
        "free_heap": heap,
        "uptime_seconds": said.uptime_seconds,
    }
    if expected_commit_sha not in said.build_signature:
        text = f"device {ip} runs {said.build_signature!r}, not {expected_commit_sha}"
        return failed(text, {"status": "version_mismatch", **output})
    if heap is None or heap <= HEAP_BYTES_MIN:
        text = f"device {ip} has {heap} bytes of heap left, not over {HEAP_BYTES_MIN}"
        return failed(text, {"status": "low_memory", **output})
    artifact.mark_good(expected_commit_sha, ip)
    task.log(f"{expected_commit_sha} is known to be good on {ip}")
    return {"status": "healthy", **output}


@batuta.task("send_build_failure_notification")
def send_build_failure_notification(message: str, details: list[str]) -> dict[str, Any]:
    """Say why a build was not deployed."""
    return notice.tell(message, channel="slack", details=details)


def _device(given: str | None) -> str:
    return device_ip(given)


def _build_folder(build_dir: str) -> Path:
    try:
        return build_folder(build_dir)
    except RefusedError as error:
        raise batuta.FatalError(str(error)) from error


def _binary(firmware_path: str) -> Path:
    """Give the path of a binary that a build of ours left."""
    path = Path(firmware_path)
    builds = [parent for parent in path.parents if parent.name.startswith("k1-build-")]
    if ".." in path.parts or not builds:
        raise batuta.FatalError(f"{firmware_path!r} is in no folder of a build")
    _build_folder(str(builds[-1]))
    return path


def _told(built: Built) -> dict[str, Any]:
    if built.binary is None:
        return {"success": False, "error_message": built.error, "build_log": built.log}
    return {
        "success": True,
        "firmware_bin_path": str(built.binary),
        "build_log": built.log,
        "error_message": None,
    }
