"""The workers of the firmware pipeline.

    batuta worker examples.firmware_ci.workers

The input `simulate` makes things go wrong: "compile_error", "flash_70_9", "ota_flaky",
"device_offline".
"""

import asyncio
import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import batuta
from examples.firmware_ci.device import Device, OfflineError
from examples.firmware_ci.place import home, pace_s
from examples.firmware_ci.toolchain import build, read_log, signature

HEAP_BYTES_MIN = 100_000  # below this the lamp drops frames
FLAKY_ATTEMPTS = 2  # that "ota_flaky" loses before one gets through


@batuta.task("check_commit")
def check_commit(repo: str, branch: str, commit: str) -> dict[str, Any]:
    """Refuse what cannot be a commit: no later attempt would find it."""
    if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        raise batuta.FatalError(f"{commit!r} of {repo} is no commit: 7 to 40 hexadecimal digits")
    return {"valid": True, "ref": f"{repo}/{branch}@{commit[:7]}"}


@batuta.task("clean_build")
def clean_build(commit: str) -> dict[str, Any]:
    """Begin with an empty folder, whatever an earlier attempt left there."""
    folder = _build_folder(commit)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return {"build_dir": str(folder)}


@batuta.task("compile_firmware", concurrency=2)
def compile_firmware(
    commit: str, board: str, build_dir: str, task: batuta.TaskContext, simulate: str | None = None
) -> dict[str, Any]:
    """Compile, with the compiler's output as the task's log."""
    folder = Path(build_dir)
    lines = []
    for line in build(commit, board, folder, simulate or ""):
        task.log(line)
        lines.append(line)
        time.sleep(pace_s())
    return {"binary": str(folder / "firmware.bin"), "log": "\n".join(lines)}


@batuta.task("measure_build")
def measure_build(log: str, binary: str) -> dict[str, Any]:
    """Get the numbers out of the log."""
    return {**read_log(log), "binary_bytes": Path(binary).stat().st_size}


@batuta.task("quality_gate")
def quality_gate(
    flash_percent: float,
    ram_percent: float,
    warnings: int,
    flash_percent_max: float,
    ram_percent_max: float,
    warnings_max: int,
) -> dict[str, Any]:
    """Hold the build to its limits; 70.9 is over 70."""
    measures = (
        ("flash", "%", flash_percent, flash_percent_max),
        ("RAM", "%", ram_percent, ram_percent_max),
        ("warnings", "", warnings, warnings_max),
    )
    reasons = [
        f"{name} {value}{unit} is over {limit}{unit}"
        for name, unit, value, limit in measures
        if value > limit
    ]
    return {"passed": not reasons, "reasons": reasons}


@batuta.task("keep_binary")
def keep_binary(binary: str, commit: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Keep the binary under its checksum, so that storing it twice is storing it once."""
    content = Path(binary).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    folder = home() / "artifacts"
    folder.mkdir(exist_ok=True)
    artifact = folder / f"{commit[:7]}-{sha256[:12]}.bin"
    part = artifact.with_suffix(".part")
    part.write_bytes(content)
    part.replace(artifact)
    about = {"sha256": sha256, "bytes": len(content), "commit": commit, **metadata}
    artifact.with_suffix(".json").write_text(json.dumps(about, indent=2), "utf-8")
    return {"artifact": str(artifact), "sha256": sha256, "signature": signature(commit)}


@batuta.task("ota_deploy")
async def ota_deploy(
    device: str,
    artifact: str,
    sha256: str,
    task: batuta.TaskContext,
    simulate: str | None = None,
) -> dict[str, Any]:
    """Send the binary over the air; a lost link is tried again by the engine."""
    task.log(f"connecting to {device}, attempt {task.retry_count + 1}")
    await asyncio.sleep(pace_s())
    if simulate == "device_offline":
        raise OfflineError(f"{device} does not answer")
    if simulate == "ota_flaky" and task.retry_count < FLAKY_ATTEMPTS:
        raise OfflineError(f"{device} was lost at {40 * (task.retry_count + 1)} %")
    for percent in (25, 50, 75, 100):
        task.log(f"sent {percent} %")
        await asyncio.sleep(pace_s())
    return {"build_signature": Device(device).flash(Path(artifact), sha256)}


@batuta.task("device_health")
async def device_health(device: str, expected_signature: str) -> dict[str, Any]:
    """Ask the device what it runs."""
    await asyncio.sleep(pace_s())
    info = Device(device).info()
    if info["build_signature"] != expected_signature:
        raise ValueError(f"{device} runs {info['build_signature']}, not {expected_signature}")
    if info["free_heap"] < HEAP_BYTES_MIN:
        raise ValueError(f"{device} has {info['free_heap']} bytes of heap left")
    return {"status": "healthy", **info}


@batuta.task("notify_team")
def notify_team(subject: str, details: list[str]) -> dict[str, Any]:
    """Write the message that a real pipeline would send to a chat."""
    message = f"{subject}: {'; '.join(str(detail) for detail in details)}"
    with (home() / "messages.txt").open("a", encoding="utf-8") as file:
        file.write(message + "\n")
    return {"message": message}


@batuta.task("remove_build")
def remove_build(commit: str) -> dict[str, Any]:
    """Take away what a failed build left."""
    folder = _build_folder(commit)
    was_there = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    return {"removed": was_there}


def _build_folder(commit: str) -> Path:
    return home() / "builds" / re.sub(r"[^0-9a-f]", "_", commit)[:40]
