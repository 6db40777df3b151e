"""Where the example keeps its files, and how long its pretended work takes."""

import os
from pathlib import Path


def home() -> Path:
    """Give the folder of builds, artifacts, devices and messages; FIRMWARE_CI_HOME moves it."""
    folder = Path(os.environ.get("FIRMWARE_CI_HOME", ".batuta/firmware_ci")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pace_s() -> float:
    """Give the seconds that a step of work takes; FIRMWARE_CI_PACE=0 makes tests quick."""
    return float(os.environ.get("FIRMWARE_CI_PACE", "0.25"))
