"""Kill -9 again and again under load: nothing acknowledged is lost, nothing is done twice.

``make kill KILLS=200`` does more of it. The seed is BATUTA_KILL_SEED; a failure names it.
"""

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.compare import compare, ended
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.scan import open_runs, scan
from tests.faults.serving import Server

KILLS = int(os.environ.get("BATUTA_KILLS", "20"))
SEED = int(os.environ.get("BATUTA_KILL_SEED", "1"))
STARTS = 25  # between two kills
IN_FLIGHT_MIN = 50  # commands without an answer when the server dies
UP_S = 0.5  # how long a server lives at most once its clients are back
END_S = 60  # until all runs have ended after the last kill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90 + 6 * KILLS)]


async def test_what_was_acknowledged_survives_kills_under_load(tmp_path: Path) -> None:
    server, ledger = Server(tmp_path), Ledger(tmp_path / "ledger")
    load = Load(server.port, ledger, SEED)
    await server.start()
    await load.register()
    load.begin()
    in_flight = []
    try:
        for number in range(KILLS):
            load.starts_left += STARTS
            load.is_up.set()
            await _until_the_moment(load, number)
            load.is_up.clear()
            in_flight.append(sum(load.in_flight.values()))
            server.kill()
            assert scan(server.database) == [], f"after kill {number}, seed {SEED}"
            await server.start()
        load.starts_left = 0
        load.is_up.set()
        await _until_ended(server)
    except BaseException:
        print(server.log())  # noqa: T201  for who looks
        raise
    finally:
        await load.end()
        server.terminate()
        code = await server.wait()
        server.end()
        ledger.close()

    told = f"answered {dict(load.acknowledged)}, unanswered {dict(load.unanswered)}"
    print(f"{KILLS} kills, seed {SEED}: {told}, in flight {in_flight}")  # noqa: T201  for who looks
    assert code == 0
    assert load.wrong == []
    assert min(in_flight) >= IN_FLIGHT_MIN
    assert scan(server.database) == []
    compare(server.database, ledger)
    assert ended(server.database)


async def _until_the_moment(load: Load, number: int) -> None:
    """Wait for the moment of a kill: some time, an answered start, or a batch of reports."""
    moment = asyncio.Event()
    left = Counter(start=load.random.randint(1, STARTS), update=load.random.randint(1, 60))

    def count(kind: str) -> None:
        left[kind] -= 1
        if left[kind] == 0:
            moment.set()

    limit_s = load.random.uniform(0.05, UP_S)
    try:
        if number % 3 == 1:
            load.on_answer = lambda kind: count(kind) if kind == "start" else None
        elif number % 3 == 2:
            load.on_send = lambda kind: count(kind) if kind == "update" else None
        await asyncio.wait_for(moment.wait(), limit_s if number % 3 == 0 else 2 * UP_S)
        await asyncio.sleep(load.random.choice((0, 0.001, 0.003)))
    except TimeoutError:
        pass
    finally:
        load.on_answer = load.on_send = lambda _kind: None
    async with asyncio.timeout(END_S):
        while sum(load.in_flight.values()) < IN_FLIGHT_MIN:  # noqa: ASYNC110  of another process
            await asyncio.sleep(0)


async def _until_ended(server: Server) -> None:
    async with asyncio.timeout(END_S):
        while await asyncio.to_thread(open_runs, server.database):  # noqa: ASYNC110  of another process
            await asyncio.sleep(0.1)
