"""A damaged row keeps nobody else's events from being told, and no sink from going on."""

import asyncio
import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from batuta.dialects.steps.events import tell
from batuta.sinks.relay import Relay
from tests.engine.node import Clock, OpenStore, sqlite_opener
from tests.faults.poison.others import begin
from tests.faults.poison.test_poison_rows import GARBAGE
from tests.sinks.test_relay import Watched, until

READ_HERE = ("workflow", "task", "journal", "payload", "snapshot")
DAMAGE = [name for name in GARBAGE if name.split(":")[0] in READ_HERE]


async def begun(opener: OpenStore, clock: Clock) -> tuple[str, list[str]]:
    """Begin the victim's run and others, with a reader who has yet to read of them."""
    store = await opener()
    await store.cursors.take("test", "", now_ms=0, until_ms=0)
    await store.close()
    return await begin(opener, clock)


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("teller", ["generic", "steps"])
async def test_a_damaged_row_keeps_no_other_run_from_being_told(
    tmp_path: Path, name: str, teller: str
) -> None:
    clock, path = Clock(), tmp_path / "batuta.db"
    opener = sqlite_opener(path, clock)
    victim, others = await begun(opener, clock)
    with closing(sqlite3.connect(path)) as database:
        keys = {"run": bytes.fromhex(victim.replace("-", "")), "id": bytes(range(16))}
        used = {key: value for key, value in keys.items() if f":{key}" in GARBAGE[name]}
        database.execute(GARBAGE[name], used)
        database.commit()

    store, sink = await opener(), Watched()
    relay = Relay(
        sink,
        store,
        cursor="test",
        node="n",
        tellers={"": tell} if teller == "steps" else {},
        now_ms=clock.now_ms,
        lag_max=10**6,
    )
    task = asyncio.create_task(relay.run(lambda: None))
    end = await store.cursors.journal_end()
    await until(lambda: task.done() or relay.facts()["position"] == end)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await store.close()

    assert relay.facts()["failures"] == 0
    told = {one.key: json.loads(one.body)["type"] for one in reversed(sink.arrived)}
    assert told.keys() >= set(others)
    assert {told[other] for other in others} <= {"WORKFLOW_STATUS", "WORKFLOW_STARTED"}
    if name == "journal: gone":
        assert victim not in told
    else:
        assert victim in told


async def test_what_is_damaged_is_told_as_untold(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "batuta.db"
    opener = sqlite_opener(path, clock)
    victim, others = await begun(opener, clock)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE journal SET changed = x'ff'")
        database.commit()

    store, sink = await opener(), Watched()
    relay = Relay(
        *(sink, store), cursor="test", node="n", tellers={}, now_ms=clock.now_ms, lag_max=10**6
    )
    task = asyncio.create_task(relay.run(lambda: None))
    await sink.has(len(others) + 1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await store.close()

    bodies = [json.loads(one.body) for one in sink.arrived]
    assert {"type": "UNTOLD", "workflowId": victim} in bodies
    assert {body["type"] for body in bodies} == {"UNTOLD"}
