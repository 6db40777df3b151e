"""Task functions that poll a real server over HTTP, through a proxy that misbehaves on demand."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import batuta
from batuta.cli.client import Client
from batuta.workers.address import api_base
from batuta.workers.function import task_functions
from batuta.workers.loop import Workers
from batuta.workers.remote import RemoteTransport
from tests.cli.live import Process, server

ENDED = {"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("remote") / "runs.db") as url:
        yield url


class Proxy:
    """Forwards to the server, after or instead of doing what `faults` says for a path.

    A fault is "lose" (forward, then hang up), or a status to answer without forwarding.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.faults: dict[str, list[str | int]] = {}
        self.seen: Counter[str] = Counter()
        self.url = ""

    async def forward(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api")
        self.seen[path] += 1
        faults = self.faults.get(path, [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            return web.json_response({"status": fault, "message": "planted"}, status=fault)
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                self.upstream + request.raw_path,
                data=await request.read(),
                headers={"Content-Type": "application/json"},
            ) as answer,
        ):
            body = await answer.read()
        if fault == "lose":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=answer.status, body=body, content_type=answer.content_type)


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", proxy.forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield proxy
    await runner.cleanup()


@contextlib.asynccontextmanager
async def working(url: str, *functions: Callable[..., Any]) -> AsyncIterator[Workers]:
    found = [f for function in functions for f in task_functions({"f": function})]
    workers = Workers(RemoteTransport(url, "me"), found)
    workers.start()
    try:
        yield workers
    finally:
        await workers.drain(2_000)


def start(url: str, name: str, count: int = 1, **task_def: Any) -> list[str]:
    """Register a workflow of one task and start it some times."""
    client = Client(url)
    task = {
        "name": name,
        "taskReferenceName": "r",
        "type": "SIMPLE",
        "inputParameters": {"n": "${workflow.input.n}"},
    }
    client.post("/metadata/taskdefs", [{"name": name, "retryDelaySeconds": 0, **task_def}])
    client.put("/metadata/workflow", [{"name": name, "tasks": [task]}])
    ids = [client.post("/workflow", {"name": name, "input": {"n": n}}) for n in range(count)]
    client.close()
    return ids


async def ended(url: str, workflow_id: str) -> dict[str, Any]:
    client = Client(url)
    async with asyncio.timeout(20):
        while True:
            run: dict[str, Any] = await asyncio.to_thread(
                client.get, f"/workflow/{workflow_id}?includeTasks=true"
            )
            if run["status"] in ENDED:
                client.close()
                return run
            await asyncio.sleep(0.02)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.02)


def times(name: str) -> tuple[Callable[..., Any], Counter[int]]:
    """Give a task function of this type, and a count of its calls by input."""
    calls: Counter[int] = Counter()

    @batuta.task(name)
    async def double(n: int) -> dict[str, int]:
        calls[n] += 1
        return {"twice": 2 * n}

    return double, calls


async def test_tasks_come_in_batches_and_by_the_answers_to_reports(proxy: Proxy) -> None:
    double, calls = times("batched")
    ids = start(proxy.upstream, "batched", 40)

    async with working(proxy.url, double):
        runs = [await ended(proxy.upstream, workflow_id) for workflow_id in ids]

    assert [run["output"] for run in runs] == [{"twice": 2 * n} for n in range(40)]
    assert set(calls.values()) == {1}
    assert proxy.seen["/tasks/update-v2"] == 40
    assert proxy.seen["/tasks/poll/batch/batched"] < 20, "most came with the answer to a report"


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_without_update_v2_gets_the_plain_report(proxy: Proxy, status: int) -> None:
    name = f"plain_{status}"
    double, calls = times(name)
    proxy.faults["/tasks/update-v2"] = [status] * 100
    ids = start(proxy.upstream, name, 40)

    async with working(proxy.url, double):
        runs = [await ended(proxy.upstream, workflow_id) for workflow_id in ids]

    assert {run["status"] for run in runs} == {"COMPLETED"}
    assert set(calls.values()) == {1}
    assert proxy.seen["/tasks/update-v2"] <= 16, "each lane learns it once at most"


async def test_a_report_is_repeated_until_the_server_has_taken_it(proxy: Proxy) -> None:
    double, calls = times("stubborn")
    proxy.faults["/tasks/update-v2"] = [500, 401, 429, "lose"]
    ids = start(proxy.upstream, "stubborn", 1)

    async with working(proxy.url, double):
        run = await ended(proxy.upstream, ids[0])
        await until(lambda: proxy.seen["/tasks/update-v2"] >= 5)

    assert run["output"] == {"twice": 0}
    assert calls == {0: 1}, "the result is sent again, the work is not done again"
    assert len(run["tasks"]) == 1


async def test_polling_goes_on_after_errors(proxy: Proxy) -> None:
    double, _ = times("rough")
    proxy.faults["/tasks/poll/batch/rough"] = [500, 404, "lose", 429]
    ids = start(proxy.upstream, "rough", 3)

    async with working(proxy.url, double):
        # what was in the lost answer is in nobody's hands until its lease ends
        await until(lambda: proxy.seen["/tasks/poll/batch/rough"] >= 5)
        fresh = start(proxy.upstream, "rough", 1)
        run = await ended(proxy.upstream, fresh[0])

    assert run["status"] == "COMPLETED"
    assert len(ids) == 3


async def test_a_result_that_is_refused_ends_the_task_and_says_why(proxy: Proxy) -> None:
    double, calls = times("refused")
    proxy.faults["/tasks/update-v2"] = [413]
    ids = start(proxy.upstream, "refused", 1)

    async with working(proxy.url, double):
        run = await ended(proxy.upstream, ids[0])

    assert run["status"] == "FAILED"
    assert run["tasks"][0]["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "planted" in run["tasks"][0]["reasonForIncompletion"]
    assert calls == {0: 1}


async def test_a_report_on_a_task_that_is_gone_is_let_go(proxy: Proxy) -> None:
    double, _ = times("gone")
    proxy.faults["/tasks/update-v2"] = [404]
    proxy.faults["/tasks"] = [404]
    start(proxy.upstream, "gone", 1)

    async with working(proxy.url, double):
        await until(lambda: proxy.seen["/tasks"] >= 1)
        fresh = start(proxy.upstream, "gone", 1)
        run = await ended(proxy.upstream, fresh[0])

    assert run["status"] == "COMPLETED"
    assert proxy.seen["/tasks/update-v2"] == 2, "a task that is gone says nothing about update-v2"


async def test_a_log_line_that_could_not_be_sent_is_sent_later_and_once(proxy: Proxy) -> None:
    is_open = asyncio.Event()
    loop = asyncio.get_running_loop()

    @batuta.task("talker")
    def talker(task: batuta.TaskContext) -> None:
        for number in range(3):
            task.log(f"line {number}")
        asyncio.run_coroutine_threadsafe(is_open.wait(), loop).result(20)

    ids = start(proxy.upstream, "talker", 1, responseTimeoutSeconds=1, timeoutSeconds=60)
    client = Client(proxy.upstream)
    async with working(proxy.url, talker):
        await until(lambda: bool(client.get(f"/workflow/{ids[0]}")["tasks"][0]["pollCount"]))
        task_id = client.get(f"/workflow/{ids[0]}")["tasks"][0]["taskId"]
        path = f"/tasks/{task_id}/log"
        proxy.faults[path] = [500, 503]
        await until(lambda: proxy.seen[path] >= 5)
        is_open.set()
        await ended(proxy.upstream, ids[0])
        lines = [line["log"] for line in client.get(path)]
    client.close()

    assert lines == ["line 0", "line 1", "line 2"]


async def test_heartbeats_and_log_lines_go_over_the_wire(url: str) -> None:
    is_open = asyncio.Event()
    loop = asyncio.get_running_loop()

    @batuta.task("watched")
    def watched(task: batuta.TaskContext) -> None:
        task.log('half "way"')
        asyncio.run_coroutine_threadsafe(is_open.wait(), loop).result(20)
        task.log("through")

    ids = start(url, "watched", 1, responseTimeoutSeconds=1, timeoutSeconds=60, retryCount=0)
    client = Client(url)
    async with working(url, watched):
        run = client.get(f"/workflow/{ids[0]}")
        task_id = run["tasks"][0]["taskId"]
        await until(lambda: bool(client.get(f"/tasks/{task_id}/log")))
        late_ms = client.get(f"/tasks/{task_id}")["startTime"] + 1_500
        await until(lambda: client.get(f"/tasks/{task_id}")["updateTime"] >= late_ms)
        is_open.set()
        run = await ended(url, ids[0])

    lines = [line["log"] for line in client.get(f"/tasks/{task_id}/log")]
    client.close()
    assert run["status"] == "COMPLETED"
    assert len(run["tasks"]) == 1
    assert lines == ['half "way"', "through"]


async def test_a_worker_survives_its_server(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("serve", "--port", str(port), "--db", str(tmp_path / "runs.db"))
    url = f"http://127.0.0.1:{port}"
    is_open = asyncio.Event()
    loop = asyncio.get_running_loop()
    calls: Counter[int] = Counter()

    @batuta.task("patient")
    def patient(n: int) -> dict[str, int]:
        calls[n] += 1
        asyncio.run_coroutine_threadsafe(is_open.wait(), loop).result(30)
        return {"n": n}

    first = Process(*options)
    try:
        await asyncio.to_thread(first.wait_for, "serves at")
        ids = start(url, "patient", 1)
        async with working(url, patient):
            await until(lambda: bool(calls))
            first.kill()
            is_open.set()
            second = Process(*options)
            try:
                await asyncio.to_thread(second.wait_for, "serves at")
                run = await ended(url, ids[0])
            finally:
                await asyncio.to_thread(second.stop)
    finally:
        first.stop()

    assert run["output"] == {"n": 0}
    assert calls == {0: 1}, "the result that the first server did not take went to the second"


@pytest.mark.parametrize(
    "server_url", ["http://h:1", "http://h:1/", "http://h:1/api", " http://h:1/api/ "]
)
def test_a_server_is_named_with_or_without_its_api(server_url: str) -> None:
    assert api_base(server_url) == "http://h:1/api"
