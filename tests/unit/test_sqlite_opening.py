"""What the SQLite store refuses to open, and what the refusal says."""

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from batuta.model.error import StoreError
from batuta.store.migrate import Migration, migrations, pending
from batuta.store.sqlite import SqliteStore
from batuta.store.sqlite.connection import open_connection
from batuta.store.sqlite.opening import refuse_remote
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, batch, start, step, workflow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "batuta.db")


async def opened(path: str) -> SqliteStore:
    return await SqliteStore.open(path, now_wall_ms=lambda: NOW_MS)


async def refusal(path: str) -> str:
    with pytest.raises(StoreError) as caught:
        await opened(path)
    return caught.value.message


def overwrite(path: str, at: int, data: bytes) -> None:
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(file, data, at)
    os.close(file)


async def test_what_was_committed_is_there_after_opening_again(path: str) -> None:
    header = workflow()
    store = await opened(path)
    await store.commit(batch(start(header)))
    await store.close()

    again = await opened(path)

    assert list(await again.load([(header.workflow_id, 0)])) == [header.workflow_id]
    await again.close()


async def test_a_second_server_is_refused_by_name(path: str) -> None:
    first = await opened(path)

    told = await refusal(path)

    assert f"process {os.getpid()}" in told
    assert "PostgreSQL" in told
    await first.close()


async def test_a_server_in_another_process_is_refused(path: str) -> None:
    first = await opened(path)

    child = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", _OPEN, path], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert "is in use by another batuta server" in child.stdout
    await first.close()


async def test_the_file_is_free_after_a_refused_migration(path: str) -> None:
    overwrite(path, 0, b"no database, but long enough to look like one" * 100)

    first, second = await refusal(path), await refusal(path)

    assert "not a SQLite database" in first
    assert first == second, "the failed start has let go of the lock"


async def test_a_database_of_a_newer_version_is_refused_unchanged(path: str) -> None:
    await (await opened(path)).close()
    with apsw.Connection(path) as connection:
        connection.execute("INSERT INTO schema_migration VALUES (9999, 'later', 'x')")
    connection.close()

    told = await refusal(path)

    assert "schema 9999" in told
    assert "install the batuta that wrote it" in told


async def test_a_changed_migration_is_refused(path: str) -> None:
    await (await opened(path)).close()
    with apsw.Connection(path) as connection:
        connection.execute("UPDATE schema_migration SET checksum = 'other' WHERE number = 1")
    connection.close()

    assert "is not the one of this version" in await refusal(path)


async def test_the_database_of_another_program_is_left_alone(path: str) -> None:
    with apsw.Connection(path) as connection:
        connection.execute("CREATE TABLE invoices (id)")
    connection.close()

    assert "another program" in await refusal(path)


async def test_a_damaged_file_is_refused(path: str) -> None:
    await (await opened(path)).close()
    overwrite(path, 100, b"\xff" * 3_996)

    assert "restore a backup" in await refusal(path)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    told = await refusal(str(tmp_path / "absent" / "batuta.db"))

    assert "absent/batuta.db.lock" in told
    assert "must exist and be writable" in told


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    # Root may write everywhere: the child becomes nobody, who can still reach the folder's name.
    script = _AS_NOBODY + _OPEN if os.geteuid() == 0 else _OPEN

    child = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "batuta.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    tmp_path.chmod(0o755)
    assert "writable for this user" in child.stdout, child.stderr


_OPEN = """
import asyncio, sys
from batuta.model.error import StoreError
from batuta.store.sqlite import SqliteStore
try:
    asyncio.run(SqliteStore.open(sys.argv[1]))
except StoreError as error:
    print(error.message)
"""

# Imports come first, since nobody may not read them; the working folder makes the path short.
_AS_NOBODY = """
import os, sys
from batuta.store.sqlite import SqliteStore
folder, name = os.path.split(sys.argv[1])
os.chdir(folder)
sys.argv[1] = name
os.setgid(65534)
os.setuid(65534)
"""


def test_a_network_file_system_is_refused_and_named(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    share = tmp_path / "my share"
    share.mkdir()
    escaped = str(share).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {escaped} nfs4 rw 0 0\n")

    with pytest.raises(StoreError, match=r"network file system \(nfs4"):
        refuse_remote(str(share / "batuta.db"), mounts)
    refuse_remote(str(tmp_path / "my share of it.db"), mounts)


def test_migrations_run_once_and_in_order() -> None:
    known = [Migration(n, f"m{n}", f"SELECT {n}", f"sum{n}") for n in (1, 2, 3)]

    assert pending(known, {}) == known
    assert pending(known, {1: "sum1"}) == known[1:]
    assert pending(known, {1: "sum1", 2: "sum2", 3: "sum3"}) == []


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [one.number for one in migrations("sqlite")]

    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_the_settings_that_promises_rest_on_are_in_force(path: str) -> None:
    writer = open_connection(path, is_writer=True)
    writer.execute("CREATE TABLE t (a)")
    reader = open_connection(path, is_writer=False)

    assert writer.pragma("journal_mode") == "wal"
    assert writer.pragma("synchronous") == 2
    assert writer.pragma("wal_autocheckpoint") == 0
    assert writer.pragma("mmap_size") == 0
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("INSERT INTO t VALUES (1)")
    writer.close()
    reader.close()


async def test_store_time_never_goes_back_over_a_restart(path: str) -> None:
    header = workflow()
    store = await opened(path)
    late_ms = NOW_MS + 1_000_000
    await store.commit(batch(start(header), now_ms=NOW_MS))
    await store.commit(batch(step(header.workflow_id, 1, at_ms=late_ms), now_ms=late_ms))
    assert await store.now_ms() == late_ms
    await store.close()

    again = await opened(path)

    assert await again.now_ms() == late_ms
    await again.close()


async def test_without_a_clock_of_its_own_the_store_has_the_time_of_day(path: str) -> None:
    store = await SqliteStore.open(path)

    first = await store.now_ms()
    second = await store.now_ms()

    assert NOW_MS < first <= second < first + 60_000
    await store.close()


async def test_a_closed_store_says_so(path: str) -> None:
    store = await opened(path)
    await store.close()
    await store.close()

    with pytest.raises(StoreError, match="closed"):
        await store.load([(builders.new_id(), 0)])
    with pytest.raises(StoreError, match="closed"):
        await store.commit(batch(start(workflow())))
