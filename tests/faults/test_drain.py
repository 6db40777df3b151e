"""SIGTERM under load: what was accepted is finished, and nobody is answered an error."""

import asyncio
from pathlib import Path

import pytest

from bench.load.client import Connection
from tests.faults.compare import compare, ended
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.scan import open_runs, scan
from tests.faults.serving import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
REPORTS = 200  # answered before the server is asked to end
END_S = 60


async def test_a_server_that_is_asked_to_end_finishes_what_it_accepted(tmp_path: Path) -> None:
    server, ledger = Server(tmp_path), Ledger(tmp_path / "ledger")
    load = Load(server.port, ledger, seed=1)
    await server.start()
    await load.register()
    load.starts_left = 100
    load.is_up.set()
    load.begin()
    try:
        async with asyncio.timeout(END_S):
            while load.acknowledged["update"] < REPORTS:  # noqa: ASYNC110  of another process
                await asyncio.sleep(0.005)

        # The clients go on all the time: they only ever see answers, or no connection.
        load.starts_left = 100
        server.terminate()
        assert await server.wait() == 0, server.log()
        assert load.wrong == []
        assert scan(server.database) == []
        assert open_runs(server.database) > 0

        load.starts_left = 0
        await server.start()
        async with asyncio.timeout(END_S):
            while open_runs(server.database):  # noqa: ASYNC110  of another process
                await asyncio.sleep(0.1)
    finally:
        await load.end()
        server.end()
        ledger.close()

    assert load.wrong == []
    compare(server.database, ledger)
    assert ended(server.database)


async def test_a_long_poll_is_answered_empty_when_the_server_ends(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    try:
        connection = await Connection.open("127.0.0.1", server.port)
        poll = asyncio.create_task(
            connection.request("GET", "/api/tasks/poll/batch/none?count=1&timeout=5000")
        )
        await _until_it_waits(server)
        server.terminate()

        async with asyncio.timeout(4):
            assert await poll == (200, b"[]")
        assert await server.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            await Connection.open("127.0.0.1", server.port)
    finally:
        server.end()


async def _until_it_waits(server: Server) -> None:
    """Return once the server has seen the poll."""
    connection = await Connection.open("127.0.0.1", server.port)
    async with asyncio.timeout(END_S):
        while (await connection.request("GET", "/api/tasks/queue/polldata?taskType=none"))[  # noqa: ASYNC110  of another process
            1
        ] == b"[]":
            await asyncio.sleep(0.01)
    connection.close()
