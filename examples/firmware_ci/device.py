"""A device that pretends: it takes a binary over the air and reports what it runs.

Its state is a file, so that it survives the worker as a real device does.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from examples.firmware_ci.place import home
from examples.firmware_ci.toolchain import read_signature


class OfflineError(Exception):
    """The device does not answer."""


class Device:
    """A lamp in the network."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = home() / "devices" / f"{name}.json"

    def flash(self, artifact: Path, sha256: str) -> str:
        """Take a binary and start it; give its signature.

        Raises:
            ValueError: What arrived is not what was sent.
        """
        binary = artifact.read_bytes()
        if hashlib.sha256(binary).hexdigest() != sha256:
            raise ValueError(f"the checksum of {artifact.name} does not match")
        state = {"signature": read_signature(binary), "boots": self._state()["boots"] + 1}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(state), "utf-8")
        part.replace(self._file)  # a lamp that loses power in between still has the old one
        return str(state["signature"])

    def info(self) -> dict[str, Any]:
        """Say what runs."""
        state = self._state()
        return {
            "device": self.name,
            "build_signature": state["signature"],
            "free_heap": 150_000 + 16 * len(str(state["signature"])),
            "boots": state["boots"],
        }

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return {"signature": "factory", "boots": 1}
        return state
