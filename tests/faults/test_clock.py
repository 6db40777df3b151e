"""The wall clock jumps under a live engine: nothing fires early, nothing is lost, leases hold."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batuta.model.execution import WorkflowStatus
from batuta.runtime.clock import SLEW_MS_PER_S, StoreClock
from batuta.runtime.engine import Engine
from batuta.store.sqlite import SqliteStore
from tests.engine.definitions import chain, simple, task_def, wait, workflow
from tests.engine.node import LIMIT_S, Clock, Node, NoScripts
from tests.faults.scan import scan

HOUR_MS = 3_600_000
WAIT_S = 2.0
LEASE_S = 3.0
EARLY = 1 - SLEW_MS_PER_S / 1_000  # store time follows the wall clock so slowly, no faster
LATE_S_MAX = 2.0  # beyond its time on a busy machine; passes are a second apart

pytestmark = [pytest.mark.slow]


class Jumping(Clock):
    """The clock of production, over a wall clock that a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.off_ms = 0
        self._clock = StoreClock(wall=self.wall_ms)

    def wall_ms(self) -> int:
        """Return the time of day, as somebody has set it."""
        return time.time_ns() // 1_000_000 + self.off_ms


async def _live(path: Path, clock: Jumping) -> Node:
    store = await SqliteStore.open(str(path), now_wall_ms=clock.now_ms)
    engine = Engine(store, now_ms=clock.now_ms, scripts=NoScripts())
    engine.start_loops()
    return Node(engine, store, clock)


async def _end(node: Node) -> None:
    await node.engine.stop()
    await node.store.close()


@pytest.mark.parametrize("jumps", [(HOUR_MS,), (-HOUR_MS,), (HOUR_MS, -2 * HOUR_MS, HOUR_MS)])
async def test_a_jump_of_the_wall_clock_changes_no_time_that_passes(
    tmp_path: Path, jumps: tuple[int, ...], report: Callable[..., None]
) -> None:
    clock = Jumping()
    node = await _live(tmp_path / "batuta.db", clock)
    await node.register(
        workflow("waits", wait("pause", f"{WAIT_S:g} seconds"), simple("after")),
        chain("one", 1, "held"),
        tasks=[task_def("held", responseTimeoutSeconds=int(LEASE_S)), task_def("step")],
    )
    begun = time.monotonic()
    runs = [await node.start("waits") for _ in range(20)]
    held_runs = [await node.start("one") for _ in range(10)]
    held = await node.engine.poll("held", count=10, wait_ms=1_000)
    polled_at = time.monotonic()

    for jump_ms in jumps:
        clock.off_ms += jump_ms
        await asyncio.sleep(WAIT_S / len(jumps) / 4)
    # The timers come when their time has passed, however the wall clock stands.
    async with asyncio.timeout(LIMIT_S):
        first = await node.poll("step")
        fired_s = time.monotonic() - begun
        done = [first, *await node.work("step", len(runs) - 1, batch=20)]
        await node.report(first, {})
    took_s = time.monotonic() - begun
    # Half of those who hold tasks report in time; the others let their leases run out.
    is_in_time = time.monotonic() - polled_at < LEASE_S - 0.2
    for one in held[:5]:
        await node.report(one, {})
    again = [await node.poll("held") for _ in range(5 if is_in_time else 10)]
    expired_s = time.monotonic() - polled_at
    for one in again:
        await node.report(one, {})
    ends = {run: await node.status_of(run) for run in (*runs, *held_runs)}
    await _end(node)

    assert fired_s >= WAIT_S * EARLY, "a timer fired early"
    assert took_s < WAIT_S + LATE_S_MAX + 1
    assert expired_s >= LEASE_S * EARLY, "a lease ended early"
    assert len({one.task.task_id for one in done}) == len(runs)
    assert set(ends.values()) == {WorkflowStatus.COMPLETED}
    assert scan(tmp_path / "batuta.db") == []
    report(
        oracle="the machine's monotonic clock; scan of the file",
        rule="no timer and no lease ends early, all end at most some seconds late, all runs end",
        jumps_ms=jumps,
        fired_s=round(fired_s, 2),
        expired_s=round(expired_s, 2),
    )


async def test_a_wall_clock_set_back_while_the_server_was_down_takes_no_time_back(
    tmp_path: Path, report: Callable[..., None]
) -> None:
    path, clock = tmp_path / "batuta.db", Jumping()
    node = await _live(path, clock)
    await node.register(workflow("waits", wait("pause", "1 seconds"), simple("after")))
    run = await node.start("waits")
    before_ms = await node.store.now_ms()
    await _end(node)

    set_back = Jumping()
    set_back.off_ms = -HOUR_MS
    store = await SqliteStore.open(str(path), now_wall_ms=set_back.wall_ms)
    started_ms = await store.now_ms()
    set_back._clock = StoreClock(wall=set_back.wall_ms, not_before_ms=started_ms)
    engine = Engine(store, now_ms=set_back.now_ms, scripts=NoScripts())
    engine.start_loops()
    node = Node(engine, store, set_back)
    async with asyncio.timeout(LIMIT_S):
        await node.report(await node.poll("step"), {})
    status = await node.status_of(run)
    await _end(node)

    assert started_ms >= before_ms - HOUR_MS // 1_000, "store time goes on from the last commit"
    assert status is WorkflowStatus.COMPLETED
    assert scan(path) == []
    report(
        oracle="store time before and after; scan of the file",
        rule="store time never goes back, and a timer fires in its time, not an hour later",
        went_back_ms=max(before_ms - started_ms, 0),
    )
