"""Large payloads when the process is killed: no reference without its file, no file for ever."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.store.blob import BlobStore, Folder, with_blobs
from batuta.store.blob.store import ORPHAN_AGE_MS
from batuta.store.sqlite import SqliteStore
from batuta.testing.builders import NOW_MS, put_task, put_workflow, step, task
from batuta.testing.cases.subject import accept, queued
from tests.faults.scan import scan

ROOT = Path(__file__).parents[2]

# Two lanes, as the committer has; an id is printed only after the commit has answered. With
# "before" as third argument the process dies when its first file is on disk and nothing names it.
_COMMIT_FOREVER = """
import asyncio, os, signal, sys
from pathlib import Path
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.store.blob import Folder, with_blobs
from batuta.store.sqlite import SqliteStore
from batuta.testing.builders import NOW_MS, batch, put_task, start, task, workflow

class Dying(Folder):
    def write(self, files):
        super().write(files)
        os.kill(os.getpid(), signal.SIGKILL)

async def lane(store):
    while True:
        header = workflow()
        put = put_task(task(1), output=Payload(b'"' + header.workflow_id.encode() * 2_000 + b'"'))
        await store.commit(batch(start(header, put)))
        os.write(1, f"{header.workflow_id}\\n".encode())

async def main():
    inner = await SqliteStore.open(sys.argv[1], now_wall_ms=lambda: NOW_MS)
    folder = (Dying if sys.argv[3] == "before" else Folder)(Path(sys.argv[2]))
    store = with_blobs(inner, folder, blob_bytes_min=20_000, wall_ms=wall_ms)
    await store.put_snapshot(workflow().definition, b"{}")
    await asyncio.gather(lane(store), lane(store))

asyncio.run(main())
"""


def committing(folder: Path, moment: str) -> "subprocess.Popen[bytes]":
    """Start the process that is to be killed."""
    arguments = [str(folder / "batuta.db"), str(folder / "blobs"), moment]
    return subprocess.Popen(
        [sys.executable, "-c", _COMMIT_FOREVER, *arguments], cwd=ROOT, stdout=subprocess.PIPE
    )


async def swept(inner: SqliteStore, folder: Path) -> int:
    """Sweep everything as an hour later; return how many files went."""
    later = with_blobs(
        inner,
        Folder(folder),
        blob_bytes_min=20_000,
        wall_ms=lambda: wall_ms() + ORPHAN_AGE_MS + 60_000,
    )
    assert isinstance(later, BlobStore)
    removed = 0
    while not (slice_ := await later.sweep()).is_last:
        removed += slice_.removed
    return removed + slice_.removed


@pytest.mark.parametrize("told_before_kill", [1, 20, 100])
async def test_what_was_acknowledged_has_its_file_after_a_kill(
    tmp_path: Path, told_before_kill: int
) -> None:
    child = committing(tmp_path, "any")
    assert child.stdout is not None

    told = [child.stdout.readline().decode().strip() for _ in range(told_before_kill)]
    child.kill()
    rest, _ = await asyncio.to_thread(child.communicate)
    told += [line for line in rest.decode().split("\n") if len(line) == 36]

    inner = await SqliteStore.open(str(tmp_path / "batuta.db"))
    await swept(inner, tmp_path / "blobs")
    store = with_blobs(inner, Folder(tmp_path / "blobs"), blob_bytes_min=20_000, wall_ms=wall_ms)
    runs = (await store.counts())["RUNNING"]
    stored = [run.workflow_id for run in await store.recent(limit=runs)]
    assert set(told) <= set(stored)
    found = await store.fetch([(workflow_id, 1, "output") for workflow_id in stored])
    assert [payload.value[:36] for payload in found] == stored
    await inner.close()
    files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert len(files) == runs, "a sweep leaves what is named, and only that"
    assert scan(tmp_path / "batuta.db", tmp_path / "blobs") == []


async def test_a_scan_names_the_payload_whose_file_is_gone_or_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "batuta.db"
    inner = await SqliteStore.open(str(path), now_wall_ms=lambda: NOW_MS)
    folder = Folder(tmp_path / "batuta.db-blobs")
    store = with_blobs(inner, folder, blob_bytes_min=1_000, wall_ms=wall_ms)
    large = Payload(b'"' + b"x" * 2_000 + b'"')
    header, _ = await queued(store)
    put = put_workflow(header, header, input=large)
    parts = put_task(task(2), input=large, output=large)
    await accept(store, step(header.workflow_id, 1, put, parts))
    await inner.close()
    large_payload = "a large payload has its file, whole"
    assert large_payload not in str(scan(path))

    [first, second, _] = _files(folder.path)
    first.unlink()
    second.write_bytes(b"")

    found = [fault for fault in scan(path) if fault.startswith(large_payload)]
    assert len(found) == 2


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_a_crash_between_file_and_commit_leaves_an_orphan_that_is_collected(
    tmp_path: Path,
) -> None:
    child = committing(tmp_path, "before")
    told, _ = await asyncio.to_thread(child.communicate)
    assert told == b"", "nothing was promised"
    orphans = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert orphans

    inner = await SqliteStore.open(str(tmp_path / "batuta.db"))
    assert await inner.counts() == {}
    removed = await swept(inner, tmp_path / "blobs")
    await inner.close()

    assert removed == len(orphans)
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []
