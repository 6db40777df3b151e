"""What the SQLite store keeps when its process is killed."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from batuta.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]

# Two lanes, as the committer has: an id is printed only after the commit has answered.
_COMMIT_FOREVER = """
import asyncio, os, sys
from batuta.model.payload import Payload
from batuta.store.sqlite import SqliteStore
from batuta.testing.builders import NOW_MS, batch, enqueue, put_task, start, task, workflow

async def lane(store):
    while True:
        headers = [workflow() for _ in range(5)]
        runs = []
        for header in headers:
            first = task(1)
            put = put_task(first, input=Payload.of("x" * 2_000))
            runs.append(start(header, put, enqueue(first)))
        await store.commit(batch(*runs))
        told = "".join(f"{header.workflow_id}\\n" for header in headers)
        os.write(1, told.encode())

async def main():
    store = await SqliteStore.open(sys.argv[1], now_wall_ms=lambda: NOW_MS)
    await asyncio.gather(lane(store), lane(store))

asyncio.run(main())
"""


@pytest.mark.parametrize("told_before_kill", [1, 40, 400, 1500])
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, told_before_kill: int) -> None:
    path = str(tmp_path / "batuta.db")
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", _COMMIT_FOREVER, path], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert child.stdout is not None

    told = [child.stdout.readline().decode().strip() for _ in range(told_before_kill)]
    child.kill()
    rest, _ = await asyncio.to_thread(child.communicate)
    told += [line for line in rest.decode().split("\n") if len(line) == 36]

    store = await SqliteStore.open(path)
    found = await store.load([(workflow_id, 0) for workflow_id in told])
    assert set(found) == set(told)
    assert all(len(run.tasks) == 1 for run in found.values())
    # Whole batches only: a run, its task, its queue row and its journal entry stand together.
    runs = sum((await store.counts()).values())
    [depth] = await store.queues()
    assert runs == depth.ready == len(await store.read_after(0, limit=1_000_000))
    assert runs % 5 == 0
    await store.close()
