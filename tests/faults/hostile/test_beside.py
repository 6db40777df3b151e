"""Hostile bodies and hostile scripts beside normal runs: their 99th percentile at most doubles."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from bench.load.client import Connection
from tests.engine.definitions import chain, task_def
from tests.faults.conftest import REPORT
from tests.faults.hostile.test_bodies import HANG_S, _answer, _cases, _of_a_run
from tests.faults.pace import is_bearable, p99_beside, register
from tests.faults.serving import Server
from tests.faults.test_sandbox import HOSTILE
from tests.faults.test_script_runs import switch

SCRIPT_MS_MAX = "300"  # so that all of them end soon
SCRIPT_CLIENTS = 4  # each starts the next run when the one before has failed
# A start is answered when its scripts are: each of them may take its whole time, and those of
# all clients share the children of the sandbox.
SCRIPT_S = 20.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # It compares times, which says little where other tests share the machine.
    pytest.mark.skipif(not REPORT, reason="a measurement: `make faults` takes it"),
]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Give a server of its own process, with the definitions of both."""
    server = Server(tmp_path, BATUTA_SCRIPT_MS_MAX=SCRIPT_MS_MAX)
    await server.start()
    scripts = [switch(f"script{number}", source) for number, source in enumerate(HOSTILE.values())]
    await register(server.port, chain("hostile", 1), *scripts, tasks=[task_def("step")])
    yield server
    server.end()


async def test_hostile_bodies_slow_nobody_down(server: Server, report: Callable[..., None]) -> None:
    seen: Counter[str] = Counter()
    cases = list(_cases().values())  # made before: it takes longer than an answer may
    before_s = await p99_beside(server.port)
    sending = asyncio.create_task(_send_bodies(server.port, cases, seen))
    meanwhile_s = await p99_beside(server.port, sending)

    report(
        oracle="the 99th percentile of one-step runs, before and meanwhile; each answer",
        rule=f"p99 at most doubled (or under 50 ms), 0 answers of 5xx, none after {HANG_S:g} s",
        answers=dict(seen),
        p99_ms=[round(before_s * 1_000, 1), round(meanwhile_s * 1_000, 1)],
    )
    assert seen["5xx"] == seen["late"] == 0
    assert seen.total() == len(cases)
    assert is_bearable(before_s, meanwhile_s)


async def test_hostile_scripts_slow_nobody_down(
    server: Server, report: Callable[..., None]
) -> None:
    seen: Counter[str] = Counter()
    before_s = await p99_beside(server.port)
    lanes = [
        asyncio.create_task(_run_scripts(server.port, number, seen))
        for number in range(SCRIPT_CLIENTS)
    ]
    meanwhile_s = await p99_beside(server.port, *lanes)

    report(
        oracle="the 99th percentile of one-step runs, before and meanwhile; each answer",
        rule="p99 at most doubled (or under 50 ms), 0 answers of 5xx",
        scripts=len(HOSTILE),
        answers=dict(seen),
        p99_ms=[round(before_s * 1_000, 1), round(meanwhile_s * 1_000, 1)],
    )
    assert seen["5xx"] == seen["late"] == 0
    assert seen.total() == len(HOSTILE)
    assert is_bearable(before_s, meanwhile_s)


async def _send_bodies(port: int, cases: Sequence[tuple[str, bytes]], seen: Counter[str]) -> None:
    """Send all hostile bodies, one after the other."""
    connection = await Connection.open("127.0.0.1", port)
    for line, given in cases:
        body = await _of_a_run(connection, given)
        status, _, took_s = await _answer(port, line, body)
        _count(seen, status, took_s, HANG_S)
    connection.close()


async def _run_scripts(port: int, first: int, seen: Counter[str]) -> None:
    """Start runs of hostile scripts, one after the other."""
    connection = await Connection.open("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    for number in range(first, len(HOSTILE), SCRIPT_CLIENTS):
        begun = loop.time()
        path = f"/api/workflow/script{number}"
        status, _ = await connection.request("POST", path, b'{"x": 1}')
        _count(seen, status, loop.time() - begun, SCRIPT_S)
    connection.close()


def _count(seen: Counter[str], status: int, took_s: float, limit_s: float) -> None:
    late = took_s > limit_s
    seen["late" if late else f"{status // 100}xx"] += 1
