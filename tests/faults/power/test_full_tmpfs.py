"""A file system that is full now and then, under a real server with load: nothing is lost."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.compare import compare, ended
from tests.faults.ledger import Ledger
from tests.faults.load import PatientLoad, finish
from tests.faults.scan import open_runs, scan
from tests.faults.serving import Server

SIZE_MB = 24
TIMES = 5
STARTS = 20  # between two times; more wait while nothing can be written
FULL_S = 0.5  # how long it is full
BACK_S = 15.0  # until something is acknowledged again; some hundredths of a second when idle
END_S = 60

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of SIZE_MB, or skip where we may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_file_system_that_fills_up_under_load_loses_nothing(
    tmp_path: Path, small_disk: Path, report: Callable[..., None]
) -> None:
    server, ledger = Server(small_disk), Ledger(tmp_path / "ledger")
    load = PatientLoad(server.port, ledger, seed=3)
    await server.start()
    await load.register()
    load.begin()
    load.is_up.set()
    back_s: list[float] = []
    refused: list[int] = []
    try:
        for _ in range(TIMES):
            load.starts_left += STARTS
            await load.acknowledged_one(BACK_S)
            before = load.unanswered.total()
            _fill(small_disk)
            load.starts_left += STARTS
            await asyncio.sleep(FULL_S)
            refused.append(load.unanswered.total() - before)
            (small_disk / "filler").unlink()
            begun = asyncio.get_running_loop().time()
            await load.acknowledged_one(BACK_S)
            back_s.append(asyncio.get_running_loop().time() - begun)
        load.starts_left = 0
        async with asyncio.timeout(END_S):
            while await asyncio.to_thread(open_runs, server.database):  # noqa: ASYNC110  of another process
                await asyncio.sleep(0.1)
    except BaseException:
        print(server.log())  # noqa: T201  for who looks
        raise
    finally:
        code = await finish(load, server, ledger)

    report(
        oracle="clients' ledger on another file system; workers' ledger of effects; scan",
        rule="0 acknowledged lost, all runs end, and with room again the same server goes on"
        f" within {BACK_S:g} s",
        times_full=TIMES,
        refused=refused,
        acknowledged=dict(load.acknowledged),
        back_ms_max=round(max(back_s) * 1_000),
    )
    assert code == 0
    assert load.wrong == []
    assert sum(refused) > 0, "something was refused while nothing could be written"
    assert scan(server.database) == []
    compare(server.database, ledger)
    assert ended(server.database)


def _fill(folder: Path) -> None:
    """Leave no byte of room."""
    block = b"x" * 4_096
    with (folder / "filler").open("ab", buffering=0) as filler:
        try:
            while True:
                filler.write(block)
        except OSError:
            pass
    assert shutil.disk_usage(folder).free == 0
