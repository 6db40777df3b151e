"""Putting stored firmware on a device: the very file that the store has."""

import os
from collections.abc import Callable
from typing import Any

from batuta.workers.outcome import Outcome
from examples.firmware_ci.suite.firmware import artifact
from examples.firmware_ci.suite.over_air.espota import OfflineError, UploadError, upload
from examples.firmware_ci.suite.place import address_of, device_ip
from examples.firmware_ci.suite.report import failed


def flash(given_ip: str | None, url: str, say: Callable[[str], None]) -> dict[str, Any] | Outcome:
    """Send an artifact to a device over the air.

    Returns:
        What was done; a failure, to be tried again, where the device is offline or was lost.

    Raises:
        RefusedError: The URL leads out of the store, or its file has changed.
        FileNotFoundError: There is no such artifact.
    """
    ip = device_ip(given_ip)
    found = artifact.find(url)
    content = artifact.content_of(found)
    lines = [f"{found.path.name} to {ip}"]

    def log(line: str) -> None:
        lines.append(line)
        say(line)

    try:
        upload(
            address_of(ip),
            content,
            log=log,
            password=os.environ.get("K1_OTA_PASSWORD", ""),
            wait_s=float(os.environ.get("K1_OTA_WAIT_S") or 10),
        )
    except (OfflineError, UploadError) as error:
        status = "offline" if isinstance(error, OfflineError) else "failed"
        text = f"device {ip}: {error}"
        output = {"deployment_status": status, "deployment_log": "\n".join([*lines, text])}
        return failed(text, output)
    return {
        "deployment_status": "deployed",
        "deployment_log": "\n".join(lines),
        "device_ip": ip,
        "version": found.version,
        "checksum": found.about["checksum"],
    }
