"""What the test of a pattern does."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from batuta.cli.verify.plant.bench import Bench, output_of, tasks_of
from batuta.cli.verify.plant.scene import expect, pattern, slow_pattern


def generated(bench: Bench, _: str) -> str:
    """There is source, and it was compiled."""
    run = pattern(bench)
    made = output_of(run, "generate_pattern_code")
    expect("brightness_at" in made["source_code"], "the source has no pattern")
    return f"{len(made['source_code'].splitlines())} lines, commit {made['commit_sha'][:12]}"


def child(bench: Bench, _: str) -> str:
    """The pipeline ran for it, as its child."""
    run = pattern(bench)
    [task] = tasks_of(run, "compile_pattern_firmware")
    found = bench.server.call("get", f"/workflow/{task['subWorkflowId']}")
    expect(found["parentWorkflowId"] == run["workflowId"], "it does not know its parent")
    log = output_of(found, "platformio_compile")["build_log"]
    expect("pattern_breathe.cpp" in log, "the pattern was not compiled")
    return f"run {found['workflowId']} is {found['status']}"


def shown(bench: Bench, _: str) -> str:
    """The device was told to show it."""
    pattern(bench)
    names = bench.ask_device("/simulator")["patterns_shown"]
    expect("breathe" in names, f"it has shown {names}")
    passed = output_of(pattern(bench), "run_pattern_validation")["visual_check_passed"]
    expect(passed is True, "it did not move")
    return "the device shows breathe"


def captured(bench: Bench, _: str) -> str:
    """Each number is there."""
    found = output_of(pattern(bench), "capture_performance_metrics")["metrics"]
    missing = [key for key, value in found.items() if value is None]
    expect(not missing, f"there is no {', '.join(missing)}")
    return f"{found['fps']:g} frames a second, {found['max_render_time_ms']:g} ms at most"


def compared(bench: Bench, _: str) -> str:
    """60 frames a second pass; 25 do not, and are a regression."""
    good = output_of(pattern(bench), "compare_performance")
    bad = output_of(slow_pattern(bench), "compare_performance")
    expect(good["passed"] is True, f"60 frames a second do not pass: {good}")
    expect(bad["regression_detected"] is True, f"25 frames a second are none: {bad}")
    return f"25 frames a second are a regression of {-bad['fps_delta']:g}"


def reported(bench: Bench, _: str) -> str:
    """The report is a file."""
    path = Path(unquote(urlsplit(pattern(bench)["output"]["report_url"]).path))
    expect(path.is_file(), f"there is no {path}")
    return path.name
