"""Kill -9 of PostgreSQL under load: nothing acknowledged is lost, and no restart of ours.

``make faults KILLS=200`` does 40. The seed is BATUTA_KILL_SEED.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.compare import compare_rows
from tests.faults.ledger import Ledger
from tests.faults.load import PatientLoad, finish
from tests.faults.postgres.database import Database
from tests.faults.serving import Server

KILLS = max(int(os.environ.get("BATUTA_KILLS", "20")) // 5, 3)
SEED = int(os.environ.get("BATUTA_KILL_SEED", "1"))
STARTS = 15  # between two kills
UP_S = 0.4  # how long the database lives at most once a command was acknowledged
BACK_S = 30.0  # until a command is acknowledged again; some tenths of a second on an idle machine
END_S = 60

# Nothing is written to the log before a buffer is full, or for ten seconds.
LATE_SYNC = ("-c", "synchronous_commit=off", "-c", "wal_writer_delay=10s")

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(120 + 8 * KILLS)]

_RUNS = "SELECT replace(id::text, '-', '') AS id, status FROM workflow"
_OPEN = "SELECT count(*) FROM workflow WHERE status IN ('RUNNING', 'PAUSED')"
_TASKS = """
SELECT replace(task_id::text, '-', '') AS id, doc, output,
    replace(workflow_id::text, '-', '') AS run
FROM task WHERE NOT retired
"""


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[Database]:
    """Give a PostgreSQL of our own, with the schema of a store."""
    from batuta.store.postgres import migrate

    folder = Path(tempfile.mkdtemp(prefix="batuta-pg-"))
    database = Database(folder, *options)
    try:
        database.make()
        await database.start()
        await migrate(database.url)
        yield database
    finally:
        database.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    """Give one that syncs each commit."""
    async with running() as database:
        yield database


async def test_what_was_acknowledged_survives_kills_of_the_database(
    tmp_path: Path, database: Database, report: Callable[..., None]
) -> None:
    server, ledger = Server(tmp_path, database.url), Ledger(tmp_path / "ledger")
    load = PatientLoad(server.port, ledger, SEED)
    await server.start()
    await load.register()
    load.begin()
    load.is_up.set()
    in_flight: list[Counter[str]] = []
    back_s: list[float] = []
    try:
        for number in range(KILLS):
            load.starts_left += STARTS
            await load.acknowledged_one(BACK_S)
            await asyncio.sleep(load.random.uniform(0, UP_S))
            in_flight.append(Counter(load.in_flight))
            if number % 2:
                database.kill_one()
            else:
                database.kill()
                await database.start()
            await database.wait_ready()
            begun = asyncio.get_running_loop().time()
            load.starts_left += 1
            await load.acknowledged_one(BACK_S)
            back_s.append(asyncio.get_running_loop().time() - begun)
        load.starts_left = 0
        await _until_ended(database.url)
    except BaseException:
        print(server.log(), database.log())  # noqa: T201  for who looks
        raise
    finally:
        code = await finish(load, server, ledger)

    runs, tasks, statuses = await _rows(database.url)
    report(
        oracle="clients' ledger, synced outside; workers' ledger of effects",
        rule="0 acknowledged lost, nothing done again that was reported completed, all runs end,"
        f" work goes on within {BACK_S:g} s without a restart of ours",
        kills=KILLS,
        seed=SEED,
        acknowledged=dict(load.acknowledged),
        unanswered=dict(load.unanswered),
        in_flight=[dict(flight) for flight in in_flight],
        back_s_max=round(max(back_s), 2),
    )
    assert code == 0
    assert load.wrong == []
    assert sum(flight.total() for flight in in_flight) >= KILLS, "commands were under way"
    assert statuses == {"COMPLETED"}
    compare_rows(runs, tasks, ledger)


async def test_a_commit_that_was_not_synced_is_found(
    tmp_path: Path, report: Callable[..., None]
) -> None:
    """The oracle can fail: told before the log is written, clients were told what is lost."""
    async with running(*LATE_SYNC) as database:
        server, ledger = Server(tmp_path, database.url), Ledger(tmp_path / "ledger")
        load = PatientLoad(server.port, ledger, SEED)
        await server.start()
        await load.register()
        load.begin()
        load.is_up.set()
        load.starts_left += STARTS
        try:
            for _ in range(STARTS):
                await load.acknowledged_one(BACK_S)
        finally:
            database.kill()
            server.kill()
            await load.end()
            ledger.close()
        await database.start()
        runs, tasks, _ = await _rows(database.url)

    with pytest.raises(AssertionError, match="lost"):
        compare_rows(runs, tasks, ledger)
    report(
        oracle="as without the plant",
        rule="with synchronous_commit = off the oracle finds a loss at the first kill",
        acknowledged=dict(load.acknowledged),
    )


async def _rows(url: str) -> tuple[set[str], dict[str, Any], set[str]]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        runs = await connection.fetch(_RUNS)
        tasks = await connection.fetch(_TASKS)
    finally:
        await connection.close()
    found: dict[str, Any] = {}
    for row in tasks:
        task = json.loads(row["doc"])
        status = task.get("s", "SCHEDULED")
        found[row["id"]] = (status, row["output"], task.get("qu"), row["run"], task["ref"])
    return {row["id"] for row in runs}, found, {row["status"] for row in runs}


async def _until_ended(url: str) -> None:
    async with asyncio.timeout(END_S):
        while await _open_count(url) != 0:  # noqa: ASYNC110  of another process
            await asyncio.sleep(0.1)


async def _open_count(url: str) -> int | None:
    """Return how many runs are open; None while the database deals with what was killed."""
    import asyncpg

    try:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(_OPEN)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
