"""A reader of the journal: a sink of the production relay that fails, stops half-way and is slow.

I38: every entry reaches it at least once and in order; what comes again is the same. I39: none
comes that is not committed.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from batuta.sinks.base import Record, SinkError, body_of
from batuta.sinks.passage import Passage
from batuta.sinks.relay import Relay
from batuta.store.cursor import Cursor

if TYPE_CHECKING:
    from tests.simulation.world.node import Node
    from tests.simulation.world.world import World

CURSOR = "outbox"
LAG_MAX = 1_000_000  # entries; nothing is ever skipped


class Outbox:
    """What has come out of the journal. One object a node; ``told`` is the world's."""

    name = CURSOR

    def __init__(self, world: "World") -> None:
        self._world = world

    async def open(self) -> None:
        """Connect; now and then it cannot be reached."""
        if not self._world.is_calm and self._world.chance.strikes("sink.down", 0.03):
            self._world.fault("sink.down")
            raise SinkError("planned: it cannot be reached")

    async def deliver(self, records: Sequence[Record]) -> None:
        """Take records; now and then only a beginning of them, or all of them and say no."""
        world = self._world
        await asyncio.sleep(world.chance.stream("sink.latency").choice([0.0, 0.001, 0.1]))
        is_cut = not world.is_calm and world.chance.strikes("sink.fails", 0.03)
        count = world.chance.stream("sink.part").randint(0, len(records)) if is_cut else None
        for record in records[:count]:
            self._take(record)
        if is_cut:
            world.fault("sink.fails", f"after {count} of {len(records)} records")
            raise SinkError("planned: nobody knows what has arrived")

    async def close(self) -> None:
        """Let go; there is nothing to let go of."""

    def _take(self, record: Record) -> None:
        world, told = self._world, self._world.told
        world.checks.evaluations.update(("I38", "I39"))
        if record.position > len(world.state.journal):
            world.fail("I39", f"entry {record.position} was told, and is not committed")
        elif record.position > len(told) + 1:
            world.fail("I38", f"entry {record.position} was told after {len(told)}")
        elif record.position == len(told) + 1:
            row = world.state.journal[record.position - 1]
            if row.workflow_id != record.workflow_id:
                world.fail("I38", f"entry {record.position} was told of another run")
            told.append((record.workflow_id, record.body))
        else:
            # The run may have been removed since: then nobody can tell more than that.
            run, body = told[record.position - 1]
            is_same = body == record.body or b"UNTOLD" in record.body
            if (run, is_same) != (record.workflow_id, True):
                world.fail("I38", f"entry {record.position} came again and was another", run)


async def _tell(passage: Passage) -> list[bytes]:
    """Tell each entry by one record."""
    entry = passage.row.entry
    return [body_of({"type": "ENTRY", "kind": entry.kind, "version": entry.version})]


def start(world: "World", node: "Node") -> None:
    """Have a node relay the journal, while no other does."""
    world.state.cursors.setdefault(CURSOR, Cursor(name=CURSOR, position=0, owner="", until_ms=0))
    relay = Relay(
        Outbox(world),
        node.store,
        cursor=CURSOR,
        node=node.name,
        tellers={"": _tell},
        now_ms=node.engine.now_ms,
        lag_max=LAG_MAX,
    )
    node.engine.listeners.append(relay.hint)
    node.engine.supervisor.start("outbox", relay.run)
