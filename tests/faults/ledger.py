"""What the clients were told, on disk before it counts."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any


class Ledger:
    """An append-only file; ``note`` returns once its line is synced. Lines share a sync."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._path = path
        self._lines: list[bytes] = []
        self._synced: asyncio.Future[None] | None = None

    async def note(self, **record: Any) -> None:
        """Write a line and wait for the disk."""
        self._lines.append(json.dumps(record).encode() + b"\n")
        if self._synced is None:
            self._synced = asyncio.get_running_loop().create_task(self._sync())  # type: ignore[assignment]
        await asyncio.shield(self._synced)

    async def _sync(self) -> None:
        await asyncio.sleep(0)  # who is ready now shares it
        lines, self._lines, self._synced = self._lines, [], None
        await asyncio.to_thread(self._write, b"".join(lines))

    def _write(self, lines: bytes) -> None:
        self._file.write(lines)
        os.fdatasync(self._file.fileno())

    def read(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the lines of a kind, or all, oldest first."""
        records = map(json.loads, self._path.read_bytes().splitlines())
        return [record for record in records if kind in ("", record["kind"])]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
