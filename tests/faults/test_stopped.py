"""SIGSTOP for longer than a lease: of the server, and of a worker that has a task in hand."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.load.client import Connection, expect
from tests.cli.live import Process, wait_until
from tests.engine.definitions import chain, task_def
from tests.faults.compare import compare, ended
from tests.faults.ledger import Ledger
from tests.faults.load import LEASE_S, Load
from tests.faults.pace import register
from tests.faults.scan import open_runs, scan
from tests.faults.serving import Server

REPORTS = 100  # answered before the server stops
END_S = 50
WORKER = '''\
"""A worker that waits, once it has noted that it was called."""

import time
from pathlib import Path

import batuta

FOLDER = Path(__file__).parent


@batuta.task("slow")
def slow(task: batuta.TaskContext) -> dict:
    with (FOLDER / "called").open("a") as calls:
        calls.write(task.task_id + "\\n")
    while not (FOLDER / "go").exists():
        time.sleep(0.02)
    (FOLDER / "done").touch()
    return {"by": "the one that was stopped"}
'''

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_a_server_stopped_for_longer_than_a_lease_loses_nothing(
    tmp_path: Path, report: Callable[..., None]
) -> None:
    server, ledger = Server(tmp_path), Ledger(tmp_path / "ledger")
    load = Load(server.port, ledger, seed=1)
    await server.start()
    await load.register()
    load.starts_left = 60
    load.is_up.set()
    load.begin()
    try:
        async with asyncio.timeout(END_S):
            while load.acknowledged["update"] < REPORTS:  # noqa: ASYNC110  of another process
                await asyncio.sleep(0.005)
        in_flight = load.in_flight.total()
        os.kill(server.pid, signal.SIGSTOP)
        await asyncio.sleep(LEASE_S + 1)
        os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(END_S):
            while load.starts_left or await asyncio.to_thread(  # noqa: ASYNC110
                open_runs, server.database
            ):
                await asyncio.sleep(0.1)  # another process
    finally:
        await load.end()
        server.terminate()
        await server.wait()
        server.end()
        ledger.close()

    assert load.wrong == []
    assert scan(server.database) == []
    compare(server.database, ledger)
    assert ended(server.database)
    report(
        oracle="clients' ledger; workers' ledger of effects; scan of the file",
        rule="0 lost, no answer but the right ones, nothing counted twice, all runs end",
        stopped_s=LEASE_S + 1,
        in_flight=in_flight,
        acknowledged=dict(load.acknowledged),
    )


async def test_a_worker_stopped_for_longer_than_its_lease_changes_nothing_any_more(
    tmp_path: Path, report: Callable[..., None]
) -> None:
    (tmp_path / "slow.py").write_text(WORKER, "utf-8")
    server = Server(tmp_path)
    await server.start()
    steps = [task_def("slow", responseTimeoutSeconds=2)]
    await register(server.port, chain("slow", 1, "slow"), tasks=steps)
    connection = await Connection.open("127.0.0.1", server.port)
    url = f"http://127.0.0.1:{server.port}"
    worker = Process("worker", str(tmp_path / "slow.py"), "--server", url, cwd=tmp_path)
    try:
        run = (await expect(connection, "POST", "/api/workflow/slow", b"{}")).decode()
        called = tmp_path / "called"
        await asyncio.to_thread(wait_until, called.exists)
        worker.process.send_signal(signal.SIGSTOP)
        # Its lease ends, and the next attempt is another worker's.
        path = "/api/tasks/poll/batch/slow?count=1&timeout=5000&workerid=other"
        [task] = json.loads(await expect(connection, "GET", path))
        report_of = {"workflowInstanceId": run, "taskId": task["taskId"], "status": "COMPLETED"}
        body = json.dumps(report_of | {"outputData": {"by": "the other"}}).encode()
        await expect(connection, "POST", "/api/tasks", body)

        worker.process.send_signal(signal.SIGCONT)
        (tmp_path / "go").touch()
        await asyncio.to_thread(wait_until, (tmp_path / "done").exists)
        worker.process.terminate()  # it reports what it has done before it ends
        await asyncio.to_thread(worker.stop)
        found = json.loads(await expect(connection, "GET", f"/api/workflow/{run}"))
    finally:
        worker.kill()
        connection.close()
        server.end()

    first, second = found["tasks"]
    assert (first["status"], first["retried"]) == ("TIMED_OUT", True)
    assert first["taskId"] == called.read_text("utf-8").strip()
    assert (second["status"], second["outputData"]) == ("COMPLETED", {"by": "the other"})
    assert found["status"] == "COMPLETED"
    assert scan(server.database) == []
    report(
        oracle="the worker's own note of its call; the run as the API and the file have it",
        rule="its attempt is TIMED_OUT, another one counts, its late report changes nothing",
        attempts=[task["status"] for task in found["tasks"]],
    )
