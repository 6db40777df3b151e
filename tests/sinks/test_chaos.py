"""Sinks that fail, nodes that crash and hang: whatever the order, everything is told in order."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from batuta.model.error import StoreError
from batuta.runtime.clock import StoreClock
from batuta.sinks.base import Record, SinkError
from batuta.sinks.relay import LEASE_MS
from batuta.testing.sink import Arrived
from tests.engine.node import Clock, running
from tests.sinks.places import ListSink
from tests.sinks.test_relay import ONE, PATH, Shared, done, relay_of, until, words
from tests.sinks.test_steps_events import in_order

ROUNDS = 8
SEEDS = 12


class Moody(ListSink):
    """Fails as chance has it: before, in between, or after all is there."""

    def __init__(self, arrived: list[Arrived], chance: random.Random) -> None:
        super().__init__(arrived)
        self._chance = chance

    async def deliver(self, records: Sequence[Record]) -> None:
        """Append some or all."""
        if self._chance.random() < 0.25:
            await super().deliver(records[: self._chance.randint(0, len(records))])
            raise SinkError("moody")
        await super().deliver(records)


class Seat:
    """A node's relay: it may crash, which stores nothing, or end as it should."""

    def __init__(self, node: Any, name: str, arrived: list[Arrived], chance: random.Random) -> None:
        self._node = node
        self._name = name
        self._sink = Moody(arrived, chance)
        self._task: asyncio.Task[None] | None = None
        self.is_dead = False

    async def start(self) -> None:
        """Begin to relay."""
        self.is_dead = False
        relay = relay_of(self._node, self._sink, node=self._name)
        relay._back_off_s = 0.001
        self._task = asyncio.create_task(relay.run(lambda: None))
        self.relay = relay

    async def end(self, *, is_crash: bool) -> None:
        """Stop; a crash reaches the store no more."""
        if self._task is None:
            return
        self.is_dead = is_crash
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def pause(self, _: str) -> None:
        """Refuse what a dead node asks of the store."""
        if self.is_dead:
            raise StoreError("dead")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_fails_everything_is_told_once_at_least_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    clock, arrived, started = Clock(), [], []
    store = Shared(StoreClock().now_ms)

    async def shared() -> Any:
        return store

    async with running(shared, clock) as node:
        await node.register(ONE)
        await node.store.cursors.take("test", "", now_ms=0, until_ms=0)
        seats = [Seat(node, name, arrived, chance) for name in "ab"]
        views = []
        for seat in seats:
            view = Shared(StoreClock().now_ms, state=store.state, pause=seat.pause)
            views.append(view)
            seat._node = type(node)(node.engine, view, clock)
            await seat.start()
        for _ in range(ROUNDS):
            started += await done(node, chance.randint(1, 4))
            seat = chance.choice(seats)
            for _ in range(chance.randint(0, 20)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                await seat.end(is_crash=chance.random() < 0.7)
                clock.move(LEASE_MS + 1)
                await seat.start()
        for seat in seats:
            await seat.end(is_crash=False)
        clock.move(LEASE_MS + 1)
        await seats[0].start()
        end = await store.cursors.journal_end()
        await until(lambda: seats[0].relay.facts()["position"] == end)
        await seats[0].end(is_crash=False)

    told = in_order(arrived)
    assert told.keys() == set(started)
    assert all(words(events) == PATH for events in told.values())
