"""Task functions beside a real engine: every kind of function, failures, heartbeats, draining."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import batuta
from batuta.model.change import Failure
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine
from batuta.runtime.view import RunView, StartRequest, TaskView
from batuta.store.memory import MemoryStore
from batuta.workers.function import task_functions
from batuta.workers.local import LocalTransport
from batuta.workers.loop import Workers

ENDED = {"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"}


class NoScripts:
    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        raise AssertionError(f"nobody asked for {source!r} with {argument!r}")


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    store = MemoryStore(wall_ms)
    seeds = itertools.count()
    engine = Engine(
        store,
        now_ms=wall_ms,
        scripts=NoScripts(),
        seeds=lambda: next(seeds).to_bytes(16, "big"),
    )
    engine.start_loops()
    yield engine
    await engine.stop()
    await store.close()


@contextlib.asynccontextmanager
async def working(
    engine: Engine, *functions: Callable[..., Any], wait_ms: int = 2_000
) -> AsyncIterator[Workers]:
    found = [f for function in functions for f in task_functions({"f": function})]
    workers = Workers(LocalTransport(engine), found)
    workers.start()
    try:
        yield workers
    finally:
        await workers.drain(wait_ms)


async def start(engine: Engine, *names: str, task_def: dict[str, Any] | None = None) -> str:
    tasks = [
        {
            "name": name,
            "taskReferenceName": f"{name}_{at}",
            "type": "SIMPLE",
            "inputParameters": {"n": "${workflow.input.n}"},
        }
        for at, name in enumerate(names)
    ]
    definition = {"name": "w", "tasks": tasks, "schemaVersion": 2}
    if task_def is not None:
        await engine.definitions.put_task_defs([task_def])
    await engine.definitions.put_workflow_defs([definition], overwrite=True)
    return await engine.start(StartRequest(name="w", input=Payload.of({"n": 7})))


async def ended(engine: Engine, workflow_id: str) -> RunView:
    async with asyncio.timeout(20):
        while True:
            run = await engine.get(workflow_id)
            if run.workflow.status.value in ENDED:
                return run
            await asyncio.sleep(0.005)


async def task_when(
    engine: Engine, workflow_id: str, is_so: Callable[[TaskView], bool]
) -> TaskView:
    async with asyncio.timeout(20):
        while True:
            run = await engine.get(workflow_id)
            for task in run.tasks:
                if is_so(task):
                    return task
            await asyncio.sleep(0.005)


async def test_async_plain_and_inline_functions_do_a_chain(engine: Engine) -> None:
    threads: dict[str, str] = {}

    @batuta.task("plain")
    def plain(n: int) -> dict[str, int]:
        threads["plain"] = threading.current_thread().name
        return {"n": n + 1}

    @batuta.task("looped")
    async def looped(n: int) -> int:
        threads["looped"] = threading.current_thread().name
        await asyncio.sleep(0)
        return n + 2

    @batuta.task("inline", inline=True)
    async def inline() -> None:
        threads["inline"] = threading.current_thread().name

    async with working(engine, plain, looped, inline):
        run = await ended(engine, await start(engine, "plain", "looped", "inline"))

    assert run.workflow.status.value == "COMPLETED"
    assert [task.output.value for task in run.tasks] == [{"n": 8}, {"result": 9}, {}]
    assert threads["plain"].startswith("task-")
    assert threads["looped"] == "task-loop"
    assert threads["inline"] == threading.current_thread().name


async def test_a_function_that_blocks_does_not_block_the_server(engine: Engine) -> None:
    is_open = threading.Event()

    @batuta.task("blocking")
    async def blocking() -> None:
        is_open.wait(10)  # an author's mistake, and it must be only the author's trouble

    async with working(engine, blocking):
        workflow_id = await start(engine, "blocking")
        await task_when(engine, workflow_id, lambda task: task.lease is not None)
        began_at_s = time.monotonic()
        await engine.status()
        took_s = time.monotonic() - began_at_s
        is_open.set()
        run = await ended(engine, workflow_id)

    assert took_s < 1
    assert run.workflow.status.value == "COMPLETED"


async def test_what_a_function_raises_fails_the_attempt_and_the_next_one_may_succeed(
    engine: Engine,
) -> None:
    @batuta.task("flaky")
    async def flaky(task: batuta.TaskContext) -> dict[str, int]:
        task.log(f"attempt {task.retry_count}")
        if task.retry_count < 2:
            raise ValueError(f"not yet {task.retry_count}")
        return {"attempts": task.retry_count + 1}

    task_def = {"name": "flaky", "retryCount": 3, "retryDelaySeconds": 0}
    async with working(engine, flaky):
        run = await ended(engine, await start(engine, "flaky", task_def=task_def))

    statuses = [task.task.status for task in run.tasks]
    assert statuses == [TaskStatus.FAILED, TaskStatus.FAILED, TaskStatus.COMPLETED]
    assert run.tasks[1].task.reason == "ValueError: not yet 1"
    assert run.tasks[2].output.value == {"attempts": 3}
    lines = [line.line for line in await engine.logs(run.tasks[0].task.task_id)]
    assert lines[0] == "attempt 0"
    assert "ValueError: not yet 0" in lines[1]


@pytest.mark.parametrize("is_inline", [True, False])
async def test_a_fatal_error_ends_the_run_without_another_attempt(
    engine: Engine, *, is_inline: bool
) -> None:
    @batuta.task("doomed", inline=is_inline)
    async def doomed() -> None:
        raise batuta.FatalError("there is no such commit")

    task_def = {"name": "doomed", "retryCount": 3, "retryDelaySeconds": 0}
    async with working(engine, doomed):
        run = await ended(engine, await start(engine, "doomed", task_def=task_def))

    assert [task.task.status for task in run.tasks] == [TaskStatus.FAILED_WITH_TERMINAL_ERROR]
    assert run.tasks[0].task.reason == "there is no such commit"


@pytest.mark.parametrize(
    "raised", [SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError]
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_nothing_that_a_function_raises_stops_its_worker(
    engine: Engine, raised: type[BaseException], *, is_async: bool
) -> None:
    calls = itertools.count()

    def act() -> dict[str, int]:
        number = next(calls)
        if number == 0:
            raise raised
        return {"number": number}

    @batuta.task("wild", concurrency=1)
    def plain() -> dict[str, int]:
        return act()

    @batuta.task("wild", concurrency=1)
    async def looped() -> dict[str, int]:
        return act()

    task_def = {"name": "wild", "retryCount": 1, "retryDelaySeconds": 0}
    async with working(engine, looped if is_async else plain):
        run = await ended(engine, await start(engine, "wild", task_def=task_def))

    statuses = [task.task.status for task in run.tasks]
    assert statuses == [TaskStatus.FAILED, TaskStatus.COMPLETED]


async def test_in_progress_offers_the_same_task_again(engine: Engine) -> None:
    @batuta.task("slow")
    def slow(task: batuta.TaskContext) -> Any:
        if task.poll_count < 3:
            return batuta.InProgress(output={"polls": task.poll_count})
        return {"polls": task.poll_count}

    async with working(engine, slow):
        run = await ended(engine, await start(engine, "slow"))

    assert len(run.tasks) == 1
    assert run.tasks[0].output.value == {"polls": 3}


async def test_a_lease_is_kept_while_a_function_works(engine: Engine) -> None:
    is_open = threading.Event()

    @batuta.task("long")
    def long(task: batuta.TaskContext) -> None:
        task.log("begun")
        is_open.wait(20)

    task_def = {
        "name": "long",
        "retryCount": 0,
        "responseTimeoutSeconds": 1,
        "timeoutSeconds": 60,
    }
    async with working(engine, long):
        workflow_id = await start(engine, "long", task_def=task_def)
        first = await task_when(engine, workflow_id, lambda task: task.lease is not None)
        assert first.lease is not None
        ends_at_ms = first.lease.started_at_ms + 1_000
        renewed = await task_when(
            engine,
            workflow_id,
            lambda task: task.lease is not None and task.lease.expires_at_ms > ends_at_ms + 1_000,
        )
        assert renewed.lease is not None
        assert renewed.lease.poll_count == 1, "it was renewed, not handed out again"
        lines = [line.line for line in await engine.logs(first.task.task_id)]
        is_open.set()
        run = await ended(engine, workflow_id)

    assert lines == ["begun"], "a long task's lines are sent before it ends"
    assert run.workflow.status.value == "COMPLETED"
    assert len(run.tasks) == 1


async def test_draining_waits_for_what_is_under_way(engine: Engine) -> None:
    has_begun, is_open = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @batuta.task("held")
    def held() -> dict[str, bool]:
        has_begun.set()
        asyncio.run_coroutine_threadsafe(is_open.wait(), loop).result(10)
        return {"done": True}

    async with working(engine, held, wait_ms=10_000) as workers:
        workflow_id = await start(engine, "held")
        assert await asyncio.to_thread(has_begun.wait, 10)
        draining = asyncio.create_task(workers.drain(10_000))
        await asyncio.sleep(0)
        is_open.set()
        await draining
        run = await engine.get(workflow_id)

    assert run.workflow.status.value == "COMPLETED"


async def test_draining_gives_back_what_could_be_stopped(engine: Engine) -> None:
    has_begun, was_cancelled = threading.Event(), threading.Event()

    @batuta.task("endless")
    async def endless() -> None:
        has_begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            was_cancelled.set()

    async with working(engine, endless) as workers:
        workflow_id = await start(engine, "endless")
        assert await asyncio.to_thread(has_begun.wait, 10)
        await workers.drain(10)
        run = await engine.get(workflow_id)

    assert was_cancelled.wait(5)
    assert run.tasks[0].task.status is TaskStatus.SCHEDULED
    assert run.tasks[0].lease is None, "the next worker may have it at once"


async def test_what_is_given_back_keeps_the_output_it_had(engine: Engine) -> None:
    has_begun = threading.Event()

    @batuta.task("staged")
    async def staged(task: batuta.TaskContext) -> Any:
        if task.poll_count == 1:
            return batuta.InProgress(output={"stage": 1})
        has_begun.set()
        await asyncio.get_running_loop().create_future()
        return None

    async with working(engine, staged) as workers:
        workflow_id = await start(engine, "staged")
        assert await asyncio.to_thread(has_begun.wait, 10)
        await workers.drain(10)
        run = await engine.get(workflow_id)

    assert run.tasks[0].task.status is TaskStatus.SCHEDULED
    assert run.tasks[0].output.value == {"stage": 1}


async def test_a_plain_function_is_told_to_stop(engine: Engine) -> None:
    has_begun, has_seen = threading.Event(), threading.Event()

    @batuta.task("stubborn")
    def stubborn(task: batuta.TaskContext) -> None:
        has_begun.set()
        until_s = time.monotonic() + 10
        while not task.is_cancelled and time.monotonic() < until_s:
            time.sleep(0.01)
        has_seen.set()

    async with working(engine, stubborn) as workers:
        workflow_id = await start(engine, "stubborn")
        assert await asyncio.to_thread(has_begun.wait, 10)
        await workers.drain(10)

        assert await asyncio.to_thread(has_seen.wait, 5)
        run = await engine.get(workflow_id)
        assert run.tasks[0].lease is not None, "nobody knows whether it still works on it"


async def test_many_runs_are_done_by_few_lanes_and_each_task_once(engine: Engine) -> None:
    seen: list[str] = []

    @batuta.task("a", inline=True, concurrency=4)
    def a(task: batuta.TaskContext) -> None:
        seen.append(task.task_id)

    @batuta.task("b", inline=True, concurrency=4)
    async def b(task: batuta.TaskContext) -> None:
        seen.append(task.task_id)

    await start(engine, "a", "b", "a", "b")
    async with working(engine, a, b):
        request = StartRequest(name="w", input=Payload.of({"n": 1}))
        ids = await asyncio.gather(*(engine.start(request) for _ in range(200)))
        runs = [await ended(engine, workflow_id) for workflow_id in ids]

    assert {run.workflow.status.value for run in runs} == {"COMPLETED"}
    assert len(seen) == len(set(seen)) >= 800
