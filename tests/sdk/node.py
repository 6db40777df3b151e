"""Node programs that use the official JavaScript SDK, in processes of their own."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "javascript"
SDK = FOLDER / "node_modules" / ".package-lock.json"  # npm writes it last
NODE = shutil.which("node")
LIMIT_S = 55
NOT_HERE = (
    "node is not installed" if NODE is None else "the JavaScript SDK is not installed: run make js"
)
needs_node = pytest.mark.skipif(NODE is None or not SDK.is_file(), reason=NOT_HERE)


@dataclass(frozen=True)
class Answered:
    """A request that the SDK made, and how it was answered."""

    method: str
    path: str
    query: str
    status: int


class Program:
    """A program of the folder, or of another one; what it says and asks for goes to its home."""

    def __init__(
        self, command: list[str], api_url: str, home: Path, *, folder: Path = FOLDER, **more: str
    ) -> None:
        self._ledger = home / "ledger.jsonl"
        self._said = home / "said.txt"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BATUTA_", "CONDUCTOR_", "NODE_")) and name != "CI"
        }
        own = {"CONDUCTOR_SERVER_URL": api_url, "BATUTA_LEDGER": str(self._ledger)}
        assert NODE is not None, "tests that use this are skipped without node"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [NODE, *command],
                cwd=folder,
                env=environment | own | more,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self._said.read_text("utf-8", "replace")

    @property
    def answered(self) -> list[Answered]:
        """Give what it asked for; complete once it has ended."""
        lines = self._ledger.read_text("utf-8").splitlines() if self._ledger.is_file() else []
        return [Answered(**json.loads(line)) for line in lines]

    def wait(self, limit_s: float = LIMIT_S) -> int:
        try:
            return self.process.wait(limit_s)
        finally:
            self.end()

    def end(self) -> None:
        """Kill it if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def storm(**settings: Any) -> dict[str, str]:
    """Give the environment of storm.mjs."""
    return {"STORM": json.dumps({"rounds": 1, "pauseMs": 0, **settings})}
