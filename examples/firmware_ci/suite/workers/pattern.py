"""A light pattern: made, built, shown on the device, measured, compared and reported."""

import hashlib
import json
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import batuta
from examples.firmware_ci.suite import place
from examples.firmware_ci.suite.over_air import answers

SAMPLES = 5  # of a device's performance, of which the mean is taken
SAMPLE_S = 0.2  # between two
LOOK_S = 1.0  # between two looks at a device that is watched
REGRESSION_PERCENT = 10.0  # fewer frames than the baseline that count as a step back
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,59}")


@batuta.task("generate_pattern_code")
def generate_pattern_code(pattern_name: str, pattern_params: dict[str, Any]) -> dict[str, Any]:
    """Write a pattern's source into a check-out of its own, named by the hash of what it holds.

    The same pattern with the same parameters is the same commit, so that a retry makes no other.
    """
    if not _NAME.fullmatch(pattern_name):
        raise batuta.FatalError(f"{pattern_name!r} is no name of a pattern: letters, digits, _")
    numbers = {
        key: float(value)
        for key, value in sorted((pattern_params or {}).items())
        if _NAME.fullmatch(key) and isinstance(value, int | float)
    }
    constants = "".join(f"static const float {key} = {value}f;\n" for key, value in numbers.items())
    source = (
        f"// {pattern_name}: made from its parameters, not by hand\n"
        "#include <Arduino.h>\n\n"
        f"namespace {pattern_name} {{\n{constants}\n"
        "float brightness_at(float seconds) {\n"
        f"    return 0.5f + 0.5f * sinf(seconds{' * speed' if 'speed' in numbers else ''})"
        f"{' * brightness' if 'brightness' in numbers else ''};\n"
        "}\n}\n"
    )
    commit_sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    checkout = place.folder("patterns") / commit_sha
    if not (checkout / "platformio.ini").is_file():
        _check_out(checkout, f"pattern_{pattern_name}.cpp", source)
    return {"source_code": source, "commit_sha": commit_sha}


def _check_out(checkout: Path, name: str, source: str) -> None:
    part = checkout.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(place.project_of(""), part, ignore=_not_its_own)
    (part / "src").mkdir(exist_ok=True)
    (part / "src" / name).write_text(source, "utf-8")
    shutil.rmtree(checkout, ignore_errors=True)
    part.rename(checkout)


def _not_its_own(_: str, names: list[str]) -> set[str]:
    """Leave out what builds and other check-outs have put into a project."""
    return {name for name in names if name in {".pio", ".git"} or _COMMIT.fullmatch(name)}


@batuta.task("run_pattern_validation")
def run_pattern_validation(
    pattern_name: str,
    task: batuta.TaskContext,
    duration_seconds: float = 30,
    device_ip: str | None = None,
) -> dict[str, Any]:
    """Show the pattern and look at the device all the while: it has to answer, and to move."""
    ip = place.device_ip(device_ip)
    answers.activate(ip, pattern_name)
    lines = [f"{ip} shows {pattern_name}"]
    until_s = time.monotonic() + place.observed_s(duration_seconds)
    is_moving = True
    while True:
        fps = answers.performance(ip).fps
        lines.append(f"{fps:g} frames a second")
        is_moving = is_moving and fps > 0
        if time.monotonic() >= until_s or task.is_cancelled:
            return {"validation_log": "\n".join(lines), "visual_check_passed": is_moving}
        time.sleep(LOOK_S)


@batuta.task("capture_performance_metrics")
def capture_performance_metrics(pattern_name: str, device_ip: str | None = None) -> dict[str, Any]:
    """Measure the device a few times; the mean of each number, the largest of the maximum."""
    ip = place.device_ip(device_ip)
    seen = []
    for number in range(SAMPLES):
        if number:
            time.sleep(place.observed_s(SAMPLE_S))
        seen.append(answers.performance(ip))
    slowest = [one.max_render_time_ms for one in seen if one.max_render_time_ms is not None]
    return {
        "metrics": {
            "fps": _mean([one.fps for one in seen]),
            "avg_render_time_ms": _mean([one.avg_render_time_ms for one in seen]),
            "max_render_time_ms": max(slowest, default=None),
            "audio_latency_ms": _mean([one.audio_latency_ms for one in seen]),
            "free_heap_bytes": _mean([one.free_heap_bytes for one in seen]),
        },
        "pattern_name": pattern_name,
    }


@batuta.task("compare_performance")
def compare_performance(
    current_metrics: dict[str, Any], baseline_version: str, thresholds: dict[str, float]
) -> dict[str, Any]:
    """Hold measurements to their limits and to the baseline of a version.

    The first that is within the limits becomes the baseline where there is none.
    """
    checks = (
        ("fps", "min_fps", -1),
        ("max_render_time_ms", "max_render_time_ms", 1),
        ("audio_latency_ms", "max_audio_latency_ms", 1),
    )
    faults = [
        f"{key} {current_metrics[key]:g} is {'under' if sign < 0 else 'over'} {thresholds[limit]:g}"
        for key, limit, sign in checks
        if current_metrics.get(key) is not None
        and limit in thresholds
        and sign * (current_metrics[key] - thresholds[limit]) > 0
    ]
    baseline = _baseline(baseline_version)
    before = baseline if baseline is not None else current_metrics
    fps_delta = current_metrics["fps"] - before["fps"]
    render_delta = _difference(current_metrics, before, "avg_render_time_ms")
    if 100 * fps_delta < -REGRESSION_PERCENT * before["fps"]:
        faults.append(f"fps fell from {before['fps']:g} to {current_metrics['fps']:g}")
    if baseline is None and not faults:
        _baseline_file(baseline_version).write_text(json.dumps(current_metrics), "utf-8")
    return {
        "passed": not faults,
        "fps_delta": fps_delta,
        "render_time_delta": render_delta,
        "regression_detected": bool(faults),
        "faults": faults,
        "has_baseline": baseline is not None,
    }


@batuta.task("generate_report")
def generate_report(
    pattern_name: str,
    metrics: dict[str, Any],
    comparison: dict[str, Any],
    task: batuta.TaskContext,
    validation_passed: bool | None = None,  # noqa: FBT001  given by name, as every input
) -> dict[str, Any]:
    """Write what was measured, for programs and for people; one report for each run."""
    if not _NAME.fullmatch(pattern_name):
        raise batuta.FatalError(f"{pattern_name!r} is no name of a pattern")
    data = {
        "pattern": pattern_name,
        "workflow_id": task.workflow_id,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "passed": bool(validation_passed),
        "metrics": metrics,
        "comparison": comparison,
    }
    path = place.folder("reports") / f"{pattern_name}-{task.workflow_id}.json"
    path.write_text(json.dumps(data, indent=2), "utf-8")
    rows = "".join(f"| {key} | {value} |\n" for key, value in metrics.items())
    verdict = "passed" if validation_passed else "failed"
    faults = "".join(f"- {fault}\n" for fault in comparison.get("faults", ()))
    text = f"# Pattern {pattern_name}: {verdict}\n\n| measured | |\n|---|---|\n{rows}\n{faults}"
    path.with_suffix(".md").write_text(text, "utf-8")
    return {"report_url": path.as_uri(), "report_data": data}


def _baseline_file(version: str) -> Path:
    if not _VERSION.fullmatch(version):
        raise batuta.FatalError(f"{version!r} is no version")
    return place.folder("reports") / f"baseline-{version}.json"


def _baseline(version: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(_baseline_file(version).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found


def _difference(now: dict[str, Any], before: dict[str, Any], key: str) -> float | None:
    if now.get(key) is None or before.get(key) is None:
        return None
    return float(now[key] - before[key])


def _mean(values: list[Any]) -> float | None:
    said = [one for one in values if one is not None]
    return sum(said) / len(said) if said else None
