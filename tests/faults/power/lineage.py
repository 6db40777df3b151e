"""One database through many losses of power: an engine and its clients, again and again.

The clients outlive the machine: they keep their reports and what they were told. A millisecond
passes with each of their acts, so that no lease runs out before the end.
"""

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from batuta.model.command import UpdateTask
from batuta.model.error import NotFoundError, StoreError
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.runtime.engine import Engine
from batuta.runtime.view import Polled, StartRequest
from batuta.store.sqlite import SqliteStore
from batuta.store.sqlite import store as sqlite_store
from tests.engine.node import LIMIT_S, Clock, Node, NoScripts, report_of
from tests.faults.compare import compare, ended
from tests.faults.load import NAMES, TASK_DEFS, WORKFLOW_DEFS
from tests.faults.power.vfs import Disk, PowerVFS
from tests.faults.scan import open_runs, scan

CLIENTS = 6
ACTIONS_MAX = 800  # writes and syncs of a life; a commit has some twenty
BOOT_ACTIONS_MAX = 120  # so that some losses come while the schema is made, or the log is read
LEASE_MS = 10_000
CHECKPOINT_PAGES = 24  # so that the log is copied, and begun anew, in most lives


class StillClock(Clock):
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._start_ms = super().now_ms()

    def now_ms(self) -> int:
        """Return the time."""
        return self._start_ms + self._ahead_ms


class Told:
    """What the clients were told; the interface of ``tests.faults.ledger.Ledger``."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self.acknowledged = 0

    def note(self, **record: Any) -> None:
        """Write a line."""
        self._records.append(record)
        self.acknowledged += record["kind"] != "effect"

    def read(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the lines of a kind, or all, oldest first."""
        return [record for record in self._records if kind in ("", record["kind"])]


class Lineage:
    """A database, its disk, and the clients that it serves."""

    def __init__(self, folder: Path, seed: int, **plants: Any) -> None:
        folder.mkdir()
        self.path = folder / "batuta.db"
        self.disk = Disk(folder, lies=plants.pop("lies", lambda: False))
        self.told = Told()
        self.clock = StillClock()
        self.losses = 0
        self.failures_to_open = 0
        self.opened: Callable[[SqliteStore], Any] | None = plants.pop("opened", None)
        self._random = random.Random(seed)
        self._effects = 0
        self._is_set_up = False
        self._pending: list[UpdateTask] = []  # reports that no answer has come to
        self._vfs = PowerVFS(self.disk)

    def close(self) -> None:
        """Give SQLite its own files back."""
        self._vfs.unregister()

    async def lose(self) -> None:
        """Live until the power goes, and hold what is found against what was told."""
        chance = random.Random(self._random.random())
        is_at_boot = chance.random() < (0.2 if self.losses else 0.5)
        if is_at_boot:
            self.disk.fail_after(chance.randint(0, BOOT_ACTIONS_MAX), chance)
        try:
            store = await self._open()
        except StoreError:
            self.failures_to_open += 1
        else:
            if not is_at_boot:
                self.disk.fail_after(chance.randint(0, ACTIONS_MAX), chance)
            await self._live(store)
        self.disk.cut()
        self.disk.back()
        self.losses += 1
        await self.look()

    async def live(self) -> None:
        """Live for a while, with the power on."""
        async with self._lived():
            await self._until_told_more(20)

    async def fill(self, times: int) -> list[float]:
        """Live with a disk that is full now and then; return how long until it was used again."""
        back_s = []
        async with self._lived():
            for _ in range(times):
                await self._until_told_more(10)
                self.disk.is_full, refused = True, self.disk.refused_writes
                while self.disk.refused_writes < refused + CLIENTS:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                self.disk.is_full, begun = False, asyncio.get_running_loop().time()
                await self._until_told_more(1)
                back_s.append(asyncio.get_running_loop().time() - begun)
        return back_s

    @contextlib.asynccontextmanager
    async def _lived(self) -> AsyncIterator[None]:
        """Have clients at work meanwhile, for LIMIT_S at most; then crash."""
        store = await self._open()
        engine = self._engine(store)
        clients = [asyncio.create_task(self._client(engine)) for _ in range(CLIENTS)]
        try:
            async with asyncio.timeout(LIMIT_S):
                yield
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await crash(engine, store)
        faults = [c.exception() for c in clients if not c.cancelled() and c.exception()]
        assert faults == []

    async def _until_told_more(self, count: int) -> None:
        before = self.told.acknowledged
        while self.told.acknowledged < before + count:  # noqa: ASYNC110  of other threads
            await asyncio.sleep(0.001)

    async def look(self) -> None:
        """Open what is there, and compare it with what was told."""
        store = await self._open()
        await store.close()
        assert scan(self.path) == [], f"after loss {self.losses}"
        compare(self.path, self.told)

    async def finish(self) -> None:
        """Bring all runs to their end, with the power on."""
        store = await self._open()
        node = Node(self._engine(store), store, self.clock)
        try:
            await self._set_up(node.engine)
            for report in self._pending:
                await self._send(node.engine, report)
            self._pending.clear()
            async with asyncio.timeout(LIMIT_S):
                while await self._step_all(node):
                    await node.advance(LEASE_MS)  # of those who polled before a loss
        finally:
            await node.engine.stop()
            await store.close()
        assert open_runs(self.path) == 0
        assert ended(self.path)
        await self.look()

    async def _step_all(self, node: Node) -> bool:
        """Do all tasks that are there; False when nothing is open any more."""
        for task_type in ("step", "flaky", "late"):
            for polled in await node.engine.poll(task_type, count=100, wait_ms=0):
                await self._send(node.engine, self._work(polled))
        counts = await node.store.counts()
        return bool(counts.get("RUNNING"))

    async def _open(self) -> SqliteStore:
        store = await SqliteStore.open(str(self.path), now_wall_ms=self.clock.now_ms)
        if self.opened is not None:
            await self.opened(store)
        return store

    def _engine(self, store: SqliteStore) -> Engine:
        engine = Engine(
            store,
            now_ms=self.clock.now_ms,
            scripts=NoScripts(),
            trouble_wait_s=0.0,
            node=f"n{self.losses}-",
        )
        engine.start_loops()
        return engine

    async def _set_up(self, engine: Engine) -> None:
        if not self._is_set_up:  # what was registered once is not lost either
            await engine.definitions.put_task_defs(TASK_DEFS)
            await engine.definitions.put_workflow_defs(WORKFLOW_DEFS, overwrite=True)
            self._is_set_up = True

    async def _live(self, store: SqliteStore) -> None:
        engine = self._engine(store)
        clients = [asyncio.create_task(self._client(engine)) for _ in range(CLIENTS)]
        try:
            async with asyncio.timeout(LIMIT_S):
                while not self.disk.is_off:  # noqa: ASYNC110  another thread's word
                    await asyncio.sleep(0.001)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await crash(engine, store)
        faults = [c.exception() for c in clients if not c.cancelled() and c.exception()]
        assert faults == []

    async def _client(self, engine: Engine) -> None:
        chance = random.Random(self._random.random())
        with contextlib.suppress(StoreError):
            await self._set_up(engine)
        while not self.disk.is_off:
            self.clock.move(1)
            try:
                if self._pending and chance.random() < 0.6:
                    report = self._pending.pop()
                    try:
                        await self._send(engine, report)
                    except BaseException:
                        self._pending.append(report)
                        raise
                elif chance.random() < 0.4:
                    name = chance.choice(NAMES)
                    given = Payload.of({"x": "x" * chance.choice((1, 100, 9_000))})
                    run = await engine.start(StartRequest(name=name, input=given))
                    self.told.note(kind="start", id=run)
                else:
                    task_type = chance.choice(("step", "step", "flaky", "late"))
                    found = await engine.poll(task_type, count=3, wait_ms=5)
                    self._pending += [self._work(one) for one in found]
            except NotFoundError:
                assert not self._is_set_up, "a definition that was registered is lost"
                await asyncio.sleep(0)
            except StoreError:
                await asyncio.sleep(0)

    def _work(self, polled: Polled) -> UpdateTask:
        self._effects += 1
        task = polled.task
        is_failing = task.queue != "step" and task.retry_count == 0
        status = TaskStatus.FAILED if is_failing else TaskStatus.COMPLETED
        self.told.note(kind="effect", task=task.task_id, effect=self._effects)
        return report_of(polled, {"effect": self._effects}, status)

    async def _send(self, engine: Engine, report: UpdateTask) -> None:
        await engine.update(report)
        assert report.output is not None
        self.told.note(
            kind="update",
            task=report.task_id,
            status=report.status.value,
            effect=report.output.value["effect"],
            is_in_time=True,
        )


async def crash(engine: Engine, store: SqliteStore) -> None:
    """End an engine as a crash does: what it was doing is not finished."""
    engine.drain()
    await engine.supervisor.stop()
    for work in (*engine.timers._in_work, *engine.committer._tasks):
        work.cancel()
    await asyncio.gather(*engine.timers._in_work, *engine.committer._tasks, return_exceptions=True)
    await store.close()
    # A connection that an exception still holds would go on with the files of the next life, as
    # no process does that has lost its power.
    gc.collect()


def small_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the log copied into the database often."""
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_PAGES", CHECKPOINT_PAGES)
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_PAGES_MAX", 2 * CHECKPOINT_PAGES)


async def set_synchronous(store: SqliteStore, level: str) -> None:
    """Plant a level of syncing that does not keep what was acknowledged."""

    def pragma(connection: apsw.Connection) -> None:
        connection.execute(f"PRAGMA synchronous = {level}")

    await store._writer.run(pragma)
