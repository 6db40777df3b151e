"""Rows of garbage in any table of PostgreSQL, all at once: other runs go on, and loops live."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.contract.postgres_server import fresh_schema, postgres
from tests.engine.node import Clock, Node, postgres_opener, running
from tests.faults.poison.others import (
    NAMES,
    OTHERS_S,
    VICTIM,
    begin,
    is_told,
    live,
    shown,
    told,
    trouble,
    work,
)

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

# Each is put into a run of its own; $1 is that run. Those of leases come first, since the first
# runs have leases, and those of queues last. What a type or a constraint refuses is not here:
# half an id, a number that is none, a text that is no UTF-8.
GARBAGE = {
    "lease: no time": "UPDATE lease SET expires_at = 1, polled_at = -1 WHERE workflow_id = $1",
    "lease: another count": "UPDATE lease SET poll_count = 77, expires_at = 1"
    " WHERE workflow_id = $1",
    "lease: of another run": "UPDATE lease SET workflow_id = gen_random_uuid(), expires_at = 1"
    " WHERE workflow_id = $1",
    "workflow: no JSON": "UPDATE workflow SET doc = '{oops' WHERE id = $1",
    "workflow: another shape": "UPDATE workflow SET doc = '[1]' WHERE id = $1",
    "workflow: an empty object": "UPDATE workflow SET doc = '{}' WHERE id = $1",
    "workflow: no UTF-8": r"UPDATE workflow SET doc = '\x22ff22' WHERE id = $1",
    "workflow: unknown definition": "UPDATE workflow SET definition = 'x' WHERE id = $1",
    "workflow: unknown status": "UPDATE workflow SET status = 'ODD' WHERE id = $1",
    "workflow: another version": "UPDATE workflow SET version = 99 WHERE id = $1",
    "workflow: garbage as input": r"UPDATE workflow SET input = '\xff00' WHERE id = $1",
    "task: no JSON": "UPDATE task SET doc = '{oops' WHERE workflow_id = $1",
    "task: an empty object": "UPDATE task SET doc = '{}' WHERE workflow_id = $1",
    "task: no UTF-8": r"UPDATE task SET doc = '\x7bff7d' WHERE workflow_id = $1",
    "task: gone": "DELETE FROM task WHERE workflow_id = $1",
    "journal: no JSON": r"UPDATE journal SET changed = '\xff' WHERE workflow_id = $1",
    "journal: gone": "DELETE FROM journal WHERE workflow_id = $1",
    "send: no JSON": r"INSERT INTO send (workflow_id, doc) VALUES ($1, '\xff')",
    "send: an unknown command": """INSERT INTO send (workflow_id, doc)"""
    """ VALUES ($1, '{"type":"odd"}')""",
    "send: of two senders": "INSERT INTO send (workflow_id, sender, doc) VALUES"
    r" ($1, gen_random_uuid(), '\xff'), ($1, gen_random_uuid(), '{}')",
    "timer: an unknown kind": "INSERT INTO timer (workflow_id, task_id, kind, due_at)"
    " VALUES ($1, '00000000-0000-0000-0000-000000000000', 'ODD', 5)",
    "timer: of another run": "UPDATE timer SET workflow_id = gen_random_uuid(), due_at = 5"
    " WHERE workflow_id = $1",
    "timer: before time": "UPDATE timer SET due_at = -9223372036854775808 WHERE workflow_id = $1",
    "snapshot: no JSON": r"UPDATE snapshot SET body = '\xff' WHERE digest ="
    " (SELECT definition FROM workflow WHERE id = $1)",
    "document: no JSON": r"UPDATE document SET body = '\xff' WHERE name ="
    " (SELECT name FROM workflow WHERE id = $1)",
    "queue: of another run": "UPDATE queue SET workflow_id = gen_random_uuid()"
    " WHERE workflow_id = $1",
    "queue: a lease before time": "UPDATE queue SET lease_ms = -9007199254740993"
    " WHERE workflow_id = $1",
    "queue: a count too large": "UPDATE queue SET poll_count = 9007199254740993"
    " WHERE workflow_id = $1",
}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Give a database with the schema of a store."""
    from batuta.store.postgres import migrate

    with postgres() as server:
        async with fresh_schema(server) as url:
            await migrate(url)
            yield url


async def _poison(url: str, runs: dict[str, str]) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        for what, run in runs.items():
            changed = await connection.execute(GARBAGE[what], run)
            assert not changed.endswith(" 0"), f"{what}: the statement has changed nothing"
    finally:
        await connection.close()


async def _victims(node: Node) -> dict[str, str]:
    """Begin a run of a definition of its own for each poison, the first with leases."""
    runs = {}
    for number, what in enumerate(GARBAGE):
        await node.register({**VICTIM, "name": f"victim{number}"})
        runs[what] = await node.start(f"victim{number}")
    assert await node.engine.poll("poisoned", count=len(GARBAGE))
    return runs


async def test_others_go_on_beside_all_of_them(url: str, report: Callable[..., None]) -> None:
    clock = Clock()
    open_store = postgres_opener(url)
    _, others = await begin(open_store, clock)
    async with running(open_store, clock) as node:
        victims = await _victims(node)
    await _poison(url, victims)

    said: dict[str, str] = {}
    async with live(open_store, clock) as node:
        asking = [asyncio.create_task(trouble(node, run)) for run in victims.values()]
        others += [await node.start(name) for name in NAMES]
        await work(node, others)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        loops = node.engine.supervisor.report()
        for what, run in victims.items():
            said[what] = await told(node, run)
        await shown(node, others[-1])
        quarantined = await node.engine.quarantine.rows()

    report(
        oracle="other runs, begun before and after, with every operator that waits",
        rule=f"they end within {OTHERS_S:g} s and are shown, no loop has an error, why tells of"
        " the row where it holds its run up",
        poisons=len(victims),
        quarantined=len(quarantined),
        told=said,
    )
    assert {name: loop["errors"] for name, loop in loops.items()} == dict.fromkeys(loops, 0)
    assert {what: text for what, text in said.items() if not is_told(what, text)} == {}
