"""A node under test: an engine on a real store, with a clock that can be moved on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from batuta.model.change import Failure
from batuta.model.command import UpdateTask
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.clock import StoreClock
from batuta.runtime.commit.batch import Share
from batuta.runtime.engine import Engine, EngineStore
from batuta.runtime.view import Polled, RunView, StartRequest, TaskView, Updated
from batuta.store.memory import MemoryStore
from batuta.store.memory.rows import State
from batuta.store.sqlite import SqliteStore

LIMIT_S = 20  # of any wait; only a hang comes near it
WAIT_MS = LIMIT_S * 1_000

OpenStore = Callable[[], Awaitable[EngineStore]]


class Clock:
    """Store time: the machine's, and what a test has moved it on by."""

    def __init__(self) -> None:
        self._ahead_ms = 0
        self._clock = StoreClock()

    def now_ms(self) -> int:
        """Return the time."""
        return self._clock.now_ms() + self._ahead_ms

    def move(self, by_ms: int) -> None:
        """Go ahead; what is due by then must be looked for (``Node.advance``)."""
        self._ahead_ms += by_ms


class NoScripts:
    """Refuses scripts: no test here needs one."""

    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        """Say no."""
        return Failure(f"no script expected: {source!r} on {argument!r}")


class Node:
    """An engine with what a test asks of it."""

    def __init__(self, engine: Engine, store: Any, clock: Clock) -> None:
        self.engine = engine
        self.store = store
        self.clock = clock
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.commits: list[str] = []  # the runs of accepted shares, in order
        engine.listeners.append(self._on_commit)

    def _on_commit(self, share: Share) -> None:
        self.commits.append(share.execution.workflow.workflow_id)
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        for condition, done in self._waiting:
            if not done.done() and condition():
                done.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds after a commit."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, done))
        self._look()
        async with asyncio.timeout(LIMIT_S):
            await done

    async def register(self, *documents: dict[str, Any], tasks: Any = ()) -> None:
        """Register workflow definitions, and task definitions before them."""
        if tasks:
            await self.engine.definitions.put_task_defs(tasks)
        await self.engine.definitions.put_workflow_defs(documents, overwrite=True)

    async def start(self, name: str, value: Any = None, **fields: Any) -> str:
        """Start a run."""
        given = EMPTY if value is None else Payload.of(value)
        return await self.engine.start(StartRequest(name=name, input=given, **fields))

    async def start_in_order(self, name: str, count: int) -> list[str]:
        """Start runs a millisecond apart: those of the same one have no order."""
        started = []
        for _ in range(count):
            started.append(await self.start(name))
            self.clock.move(1)
        return started

    async def poll(self, task_type: str, wait_ms: int = WAIT_MS, **fields: Any) -> Polled:
        """Poll one task that must come."""
        [polled] = await self.engine.poll(task_type, wait_ms=wait_ms, **fields)
        return polled

    async def polls_nothing(self, task_type: str) -> bool:
        """Tell whether a poll without a wait is empty."""
        return await self.engine.poll(task_type, wait_ms=0) == []

    async def report(
        self,
        polled: Polled,
        output: Any = None,
        status: TaskStatus = TaskStatus.COMPLETED,
        **fields: Any,
    ) -> Updated:
        """Report on a task as its worker."""
        return await self.engine.update(report_of(polled, output, status, **fields))

    async def work(self, task_type: str, count: int, batch: int = 1) -> list[Polled]:
        """Do ``count`` tasks of a type, one batch after the other."""
        done: list[Polled] = []
        while len(done) < count:
            polled = await self.engine.poll(task_type, count=batch, wait_ms=WAIT_MS)
            assert polled, f"{task_type}: {len(done)} of {count} tasks came"
            await asyncio.gather(*(self.report(one, {"n": one.task.seq}) for one in polled))
            done += polled
        return done

    async def status_of(self, workflow_id: str) -> WorkflowStatus:
        """Return where a run stands."""
        return (await self.engine.get(workflow_id, with_tasks=False)).workflow.status

    async def task(self, workflow_id: str, reference_name: str) -> TaskView:
        """Return the latest attempt of a reference name."""
        run = await self.engine.get(workflow_id)
        return [t for t in run.tasks if t.task.reference_name == reference_name][-1]

    async def advance(self, by_ms: int) -> None:
        """Move store time on and have what is due read and fired, as each second does."""
        self.clock.move(by_ms)
        await self.look_for_due()

    async def until_idle(self) -> None:
        """Return when nothing is under way."""
        while not self.engine.committer.is_idle:
            await turns()
            await self.store.counts()  # a turn of the store as well

    async def look_for_due(self) -> None:
        """Make one pass over the tables, and wait until what was due is done."""
        timers = self.engine.timers
        await timers.read()
        timers._set_alarm()
        await turns()
        while timers._in_work or not self.engine.committer.is_idle:
            await turns()
            await asyncio.gather(*timers._in_work, return_exceptions=True)
            await self.store.counts()  # a turn of the store as well


def report_of(
    polled: Polled, output: Any = None, status: TaskStatus = TaskStatus.COMPLETED, **fields: Any
) -> UpdateTask:
    """Return the worker's report on a task."""
    return UpdateTask(
        workflow_id=polled.workflow.workflow_id,
        task_id=polled.task.task_id,
        status=status,
        output=None if output is None else Payload.of(output),
        worker_id=polled.lease.worker_id,
        **fields,
    )


async def turns(count: int = 10) -> None:
    """Let the loop turn, so that what is ready runs; nothing is waited for."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(
    open_store: OpenStore,
    clock: Clock,
    *,
    has_loops: bool = False,
    wrap: Callable[[Any], Any] = lambda store: store,
    **settings: Any,
) -> AsyncIterator[Node]:
    """Give a node on a store; drained, and the store closed, at the end."""
    store = wrap(await open_store())
    engine = Engine(store, now_ms=clock.now_ms, scripts=NoScripts(), **settings)
    if has_loops:
        engine.start_loops()
    node = Node(engine, store, clock)
    try:
        yield node
    finally:
        await engine.stop()
        await store.close()


class Counting:
    """A store that counts its calls and keeps its batches, and is otherwise the one within."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: dict[str, int] = {}
        self.batches: list[Any] = []
        self.gate = asyncio.Event()  # no batch goes on to the store while it is not set
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if not callable(value):
            return value

        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            return value(*arguments, **named)

        return counted

    async def commit(self, batch: Any) -> Any:
        """Count and keep the batch."""
        self.calls["commit"] = self.calls.get("commit", 0) + 1
        self.batches.append(batch)
        await self.gate.wait()
        return await self._store.commit(batch)

    def forget(self) -> None:
        """Count from here."""
        self.calls.clear()
        self.batches.clear()


def memory_opener(clock: Clock) -> OpenStore:
    """Return what opens a memory store, every time on the same data."""
    state = State()

    async def open_store() -> EngineStore:
        return MemoryStore(clock.now_ms, state=state)

    return open_store


def sqlite_opener(path: Path, clock: Clock) -> OpenStore:
    """Return what opens a SQLite file."""

    async def open_store() -> EngineStore:
        return await SqliteStore.open(str(path), now_wall_ms=clock.now_ms)

    return open_store


def postgres_opener(url: str) -> OpenStore:
    """Return what opens a PostgreSQL database."""

    async def open_store() -> EngineStore:
        from batuta.store.postgres import PostgresStore

        return await PostgresStore.open(url)

    return open_store


def references(run: RunView) -> Iterator[tuple[str, str]]:
    """Yield the reference names of a run's tasks with their statuses."""
    return ((t.task.reference_name, t.task.status.value) for t in run.tasks)
