"""What the pipeline does."""

import json
import re
from pathlib import Path

from batuta.cli.verify.plant.bench import ENVIRONMENT, Bench, output_of, tasks_of
from batuta.cli.verify.plant.scene import (
    compiled,
    expect,
    good_pipeline,
    large_pipeline,
    stored_bytes,
    warned_pipeline,
)


def build_output(bench: Bench, _: str) -> str:
    """The binary is where PlatformIO leaves it."""
    path = Path(compiled(good_pipeline(bench))["firmware_bin_path"])
    parts = (".pio", "build", ENVIRONMENT, "firmware.bin")
    expect(path.parts[-4:] == parts, f"it is {path}")
    expect(path.is_file(), f"there is no {path}")
    return str(path)


def compiled_well(bench: Bench, _: str) -> str:
    """The compiler was run, and says so in its log."""
    found = compiled(good_pipeline(bench))
    expect(found["success"] is True, f"{found.get('error_message')}")
    expect("[SUCCESS]" in found["build_log"], "the log does not end well")
    is_real = "stand-in" not in found["build_log"]
    return "by PlatformIO" if is_real else "by the stand-in for PlatformIO"


def measured(bench: Bench, _: str) -> str:
    """The numbers are those of the log, with their decimals."""
    for run in (good_pipeline(bench), large_pipeline(bench)):
        log, found = compiled(run)["build_log"], output_of(run, "extract_build_metrics")
        percent, used = re.findall(r"Flash:.*?([\d.]+)% \(used (\d+)", log)[0]
        is_equal = (found["flash_usage_percent"], found["flash_usage_bytes"]) == (
            float(percent),
            int(used),
        )
        expect(is_equal, f"the log says {percent} %, the numbers are {found}")
    return f"{output_of(good_pipeline(bench), 'extract_build_metrics')['flash_usage_percent']} %"


def gate(bench: Bench, _: str) -> str:
    """A good build passes; 70.9 % of flash does not, nor does a warning."""
    verdicts = [
        output_of(run, "validate_build")["success"]
        for run in (good_pipeline(bench), large_pipeline(bench), warned_pipeline(bench))
    ]
    expect(verdicts == [True, False, False], f"the verdicts are {verdicts}")
    for run in (large_pipeline(bench), warned_pipeline(bench)):
        expect(not tasks_of(run, "deploy_firmware_ota"), "a build over the limits was deployed")
        expect(tasks_of(run, "send_build_failure_notification"), "nobody was told")
    return "45.6 % passes; 70.9 % and one warning do not, and are told"


def stored(bench: Bench, _: str) -> str:
    """The binary is kept with what is known of it."""
    run = good_pipeline(bench)
    content, checksum = stored_bytes(bench, run)
    sha = run["input"]["commit_sha"]
    path = bench.artifacts / "firmware" / f"firmware-{sha}.metadata.json"
    about = json.loads(path.read_text("utf-8"))
    wanted = {"version": sha, "commit_sha": sha, "branch": "main", "checksum": checksum}
    other = [key for key, value in wanted.items() if about.get(key) != value]
    expect(not other, f"its metadata has another {', '.join(other)}")
    return f"{len(content)} bytes, SHA-256 {checksum[:12]}..."


def deployed(bench: Bench, _: str) -> str:
    """The very file of the store went to the device."""
    found = output_of(good_pipeline(bench), "deploy_firmware_ota")
    expect(found["deployment_status"] == "deployed", f"it is {found['deployment_status']}")
    checksum = stored_bytes(bench, good_pipeline(bench))[1]
    expect(found["checksum"] == checksum, "another file was sent")
    return "the file of the store, by espota"


def healthy(bench: Bench, _: str) -> str:
    """The device was looked at."""
    found = output_of(good_pipeline(bench), "device_health_check")
    expect(found["status"] == "healthy", f"it is {found['status']}")
    return f"healthy, {found['free_heap']} bytes are free"


def signature(bench: Bench, _: str) -> str:
    """The device says the commit."""
    run = good_pipeline(bench)
    found = output_of(run, "device_health_check")["build_signature"]
    expect(run["input"]["commit_sha"] in found, f"it says {found}")
    return str(found)
