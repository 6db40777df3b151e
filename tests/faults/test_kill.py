"""Kill -9 again and again under load: nothing acknowledged is lost, nothing is done twice.

``make kill KILLS=200`` does more of it. The seed is BATUTA_KILL_SEED; a failure names it.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.compare import compare, ended
from tests.faults.ledger import Ledger
from tests.faults.load import Load, finish
from tests.faults.scan import open_runs, scan
from tests.faults.serving import Server

KILLS = int(os.environ.get("BATUTA_KILLS", "20"))
SEED = int(os.environ.get("BATUTA_KILL_SEED", "1"))
STARTS = 25  # between two kills
SALVO = 60  # reports at once, where the tasks allow it
IN_FLIGHT_MIN = 50  # commands without an answer when the server dies
UP_S = 0.5  # how long a server lives at most once its clients are back
END_S = 60  # until a run ends, and so on until all have; many are left on a slow machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90 + 6 * KILLS)]


async def test_what_was_acknowledged_survives_kills_under_load(
    tmp_path: Path, report: Callable[..., None]
) -> None:
    server, ledger = Server(tmp_path), Ledger(tmp_path / "ledger")
    load = Load(server.port, ledger, SEED)
    await server.start()
    await load.register()
    load.begin()
    in_flight: list[Counter[str]] = []
    try:
        for number in range(KILLS):
            moment = MOMENTS[number % len(MOMENTS)]
            load.starts_left += STARTS
            load.is_up.set()
            await moment(load)
            async with asyncio.timeout(END_S):
                while load.in_flight.total() < IN_FLIGHT_MIN:  # noqa: ASYNC110  a moment
                    await asyncio.sleep(0)
            load.is_up.clear()
            in_flight.append(Counter(load.in_flight))
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
        code = await finish(load, server, ledger)

    report(
        oracle="clients' ledger, synced outside; workers' ledger of effects; scan of the file",
        rule="0 acknowledged lost, nothing done again that was reported completed, all runs end",
        kills=KILLS,
        seed=SEED,
        acknowledged=dict(load.acknowledged),
        unanswered=dict(load.unanswered),
        effects=len(ledger.read("effect")),
        in_flight=[(flight["update"] + flight["start"], flight["poll"]) for flight in in_flight],
    )
    assert code == 0
    assert load.wrong == []
    assert min(flight.total() for flight in in_flight) >= IN_FLIGHT_MIN
    if len(MOMENTS) * 2 <= KILLS:
        assert max(flight["update"] for flight in in_flight) >= IN_FLIGHT_MIN
    assert scan(server.database) == []
    compare(server.database, ledger)
    assert ended(server.database)


async def _at_any_time(load: Load) -> None:
    await asyncio.sleep(load.random.uniform(0.05, UP_S))


async def _after_an_answered_start(load: Load) -> None:
    """Return right after the server has promised a run."""
    await _until_the(load, "start", load.random.randint(1, STARTS))


async def _among_reports(load: Load) -> None:
    """Return when some reports more have been sent, some of which are being committed."""
    await _until_the(load, "update", load.random.randint(1, 60))
    await asyncio.sleep(load.random.choice((0, 0.001, 0.003)))


async def _at_a_salvo(load: Load) -> None:
    """Have all clients hold a report each, send them all at once, and return at once, or soon."""
    load.holds_reports = True
    load.starts_left += 2 * STARTS
    try:
        async with asyncio.timeout(8 * UP_S):
            while load.held < SALVO:  # noqa: ASYNC110  a moment
                await asyncio.sleep(0.002)
    except TimeoutError:
        pass  # too few tasks were ready: then fewer fly
    load.let_go()
    await asyncio.sleep(0)
    await asyncio.sleep(load.random.choice((0, 0, 0.002, 0.005)))


MOMENTS = (_at_any_time, _after_an_answered_start, _among_reports, _at_a_salvo)


async def _until_the(load: Load, kind: str, count: int) -> None:
    """Wait until so many commands of a kind were sent, or starts answered; not for long."""
    moment = asyncio.Event()
    left = count

    def note(noted: str) -> None:
        nonlocal left
        left -= noted == kind
        if left <= 0:
            moment.set()

    if kind == "start":
        load.on_answer = note
    else:
        load.on_send = note
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(moment.wait(), 2 * UP_S)
    load.on_answer = load.on_send = lambda _kind: None


async def _until_ended(server: Server) -> None:
    loop = asyncio.get_running_loop()
    left, since = -1, loop.time()
    while now := await asyncio.to_thread(open_runs, server.database):
        if now != left:
            left, since = now, loop.time()
        assert loop.time() < since + END_S, f"{left} runs do not end"
        await asyncio.sleep(0.1)
