"""A row of garbage in any table: other runs go on, loops live, and it can be found."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.node import Clock, sqlite_opener
from tests.faults.poison.others import (
    NAMES,
    OTHERS_S,
    begin,
    is_told,
    live,
    shown,
    told,
    trouble,
    work,
)
from tests.faults.scan import scan

# What is put where. `:run` is a run with a queued and a leased task, a timer, a child with a
# stored message to it; `:id` is an id that nothing has.
GARBAGE = {
    "workflow: no JSON": "UPDATE workflow SET doc = '{oops' WHERE id = :run",
    "workflow: another shape": "UPDATE workflow SET doc = '[1]' WHERE id = :run",
    "workflow: an empty object": "UPDATE workflow SET doc = '{}' WHERE id = :run",
    "workflow: no UTF-8": "UPDATE workflow SET doc = CAST(x'22ff22' AS TEXT) WHERE id = :run",
    "workflow: unknown definition": "UPDATE workflow SET definition = 'x' WHERE id = :run",
    "workflow: unknown status": "UPDATE workflow SET status = 'ODD' WHERE id = :run",
    "workflow: another version": "UPDATE workflow SET version = 99 WHERE id = :run",
    "workflow: garbage as input": "UPDATE workflow SET input = x'ff00' WHERE id = :run",
    "task: no JSON": "UPDATE task SET doc = '{oops' WHERE workflow_id = :run",
    "task: an empty object": "UPDATE task SET doc = '{}' WHERE workflow_id = :run",
    "task: no UTF-8": "UPDATE task SET doc = CAST(x'7bff7d' AS TEXT) WHERE workflow_id = :run",
    "task: of a node that is not": "UPDATE task SET doc = json_set(doc, '$.ref', 'odd')"
    " WHERE workflow_id = :run",
    "task: gone": "DELETE FROM task WHERE workflow_id = :run",
    "journal: no JSON": "UPDATE journal SET changed = x'ff' WHERE workflow_id = :run",
    "journal: gone": "DELETE FROM journal WHERE workflow_id = :run",
    "send: no JSON": "INSERT INTO send (workflow_id, doc) VALUES (:run, x'ff')",
    "send: an unknown command": "INSERT INTO send (workflow_id, doc)"
    """ VALUES (:run, CAST('{"type":"odd"}' AS BLOB))""",
    "send: for nobody": "INSERT INTO send (workflow_id, doc) VALUES (:id, x'7b7d')",
    "send: of two senders": "INSERT INTO send (workflow_id, sender, doc) VALUES"
    " (:run, x'01', x'ff'), (:run, x'02', x'7b7d')",
    "timer: an unknown kind": "INSERT INTO timer (workflow_id, task_id, kind, due_at)"
    " VALUES (:run, x'', 'ODD', 5)",
    "timer: of nobody": "INSERT INTO timer (workflow_id, task_id, kind, due_at)"
    " VALUES (:id, :id, 'WAIT', 5)",
    "timer: half an id": "INSERT INTO timer (workflow_id, task_id, kind, due_at)"
    " VALUES (:run, x'01', 'WAIT', 5)",
    "timer: before time": "UPDATE timer SET due_at = -9223372036854775808 WHERE workflow_id = :run",
    "queue: of nobody": "INSERT INTO queue VALUES ('step', -99, 0, :id, :id, 1, 1, 1, 0, 0)",
    "queue: of another run": "UPDATE queue SET workflow_id = :id WHERE workflow_id = :run",
    "queue: half an id": "UPDATE queue SET workflow_id = x'01' WHERE workflow_id = :run",
    "queue: a lease before time": "UPDATE queue SET lease_ms = -9007199254740993"
    " WHERE workflow_id = :run",
    "queue: a count too large": "UPDATE queue SET poll_count = 9007199254740993"
    " WHERE workflow_id = :run",
    "lease: of nobody": "INSERT INTO lease (workflow_id, task_id, queue, poll_count, started_at,"
    " polled_at, expires_at, lease_ms, timeout_ms, rank, queued_at, seq)"
    " VALUES (:id, :id, 'step', 1, 1, 1, 1, 1, 1, 0, 1, 1)",
    "lease: another count": "UPDATE lease SET poll_count = 77, expires_at = 1",
    "lease: no worker's name": "UPDATE lease SET worker_id = CAST(x'ff' AS TEXT), expires_at = 1",
    "document: no JSON": "UPDATE document SET body = x'ff' WHERE name IN ('victim', 'poisoned')",
    "document: an empty object": "UPDATE document SET body = x'7b7d'"
    " WHERE name IN ('victim', 'poisoned')",
    "document: a new kind": "INSERT INTO document VALUES ('odd', 'odd', 1, x'ff', '', 0, 0)",
    "document: another definition": "INSERT INTO document"
    " SELECT kind, 'odd', 1, x'ff', '', 0, 0 FROM document GROUP BY kind",
    "snapshot: no JSON": "UPDATE snapshot SET body = x'ff' WHERE digest ="
    " (SELECT definition FROM workflow WHERE id = :run)",
    "log: of nobody": "INSERT INTO log (task_id, at, line) VALUES (:id, 0, CAST(x'ff' AS TEXT))",
    "payload: of nobody": "INSERT INTO payload VALUES (:id, 0, 'odd', x'ff')",
    "payload: gone": "UPDATE task SET input = NULL, input_size = 5000 WHERE workflow_id = :run",
    "reserve: of nobody": "INSERT INTO reserve VALUES ('odd', 'odd', :id, 0)",
    "limits: a key of nobody": "INSERT INTO limit_taken VALUES ('odd', 0, -5)",
}


def _poison(path: Path, statement: str, run: str) -> None:
    victim = bytes.fromhex(run.replace("-", ""))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        changed = connection.execute(statement, {"run": victim, "id": bytes(range(16))})
        assert changed.rowcount > 0, "the statement has changed nothing"


@pytest.mark.parametrize("what", GARBAGE)
async def test_others_go_on(tmp_path: Path, what: str, report: Callable[..., None]) -> None:
    path, clock = tmp_path / "batuta.db", Clock()
    victim, others = await begin(sqlite_opener(path, clock), clock)
    _poison(path, GARBAGE[what], victim)
    found = scan(path)  # some of it is put right by what a server does with it

    async with live(sqlite_opener(path, clock), clock) as node:
        # Somebody asks for the poisoned run, and works for it, all the time.
        asking = asyncio.create_task(trouble(node, victim))
        others += [await node.start(name) for name in NAMES]
        await work(node, others)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        loops = node.engine.supervisor.report()
        said = await told(node, victim)
        await shown(node, others[0])
        quarantined = await node.engine.quarantine.rows()

    assert {name: loop["errors"] for name, loop in loops.items()} == dict.fromkeys(loops, 0)
    found += scan(path) + [f"quarantined: {row}" for row in quarantined]
    assert found, "doctor says nothing of it"
    assert is_told(what, said), said
    report(
        oracle="other runs, begun before and after, with every operator that waits",
        rule=f"they end within {OTHERS_S:g} s and are shown, no loop has an error, doctor finds the"
        " row, why tells of it where it holds the run up",
        doctor=found[:2],
        told=said,
    )
