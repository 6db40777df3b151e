"""The device, and the project of its firmware."""

import configparser

from batuta.cli.verify.plant.bench import ENVIRONMENT, Bench
from batuta.cli.verify.plant.scene import expect


def reachable(bench: Bench, _: str) -> str:
    """The device answers."""
    bench.ask_device("/api/device/info")
    return f"the simulated device answers at {bench.device}"


def info(bench: Bench, _: str) -> str:
    """It says what it runs."""
    found = bench.ask_device("/api/device/info")
    missing = {"build_signature", "free_heap", "uptime_seconds"} - found.keys()
    expect(not missing, f"it does not say {', '.join(sorted(missing))}")
    return f"it runs {found['build_signature']}, {found['free_heap']} bytes are free"


def performance(bench: Bench, _: str) -> str:
    """It says how it is doing."""
    found = bench.ask_device("/api/device/performance")
    expect(found.get("fps", 0) > 0, f"it says {found}")
    return f"{found['fps']:g} frames a second, {found['avg_render_time_ms']:g} ms each"


def ota_environment(bench: Bench, _: str) -> str:
    """The project has an environment for uploads."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(bench.project / "platformio.ini", "utf-8")
    section = f"env:{ENVIRONMENT}-ota"
    expect(config.has_section(section), f"platformio.ini has no [{section}]")
    expect(config.get(section, "upload_protocol") == "espota", "its upload_protocol is another")
    return f"[{section}] uploads by espota"
