"""How much a step writes: rows, statements, commits, bytes. Counts, so that they never flake."""

import asyncio

import pytest

from batuta.runtime.commit.committer import BATCH_MAX
from batuta.store.base import JOURNAL_ENTRY_BYTES_MAX
from tests.counts.work import cost_of, over_http, waiting_worker, wire
from tests.engine.definitions import chain, child, fork, simple, workflow
from tests.engine.node import Node, report_of

STEPS = 10
ROWS_A_STEP_MAX = 9
STATEMENTS_A_BATCH_MAX = 12
# One to start, one for each report: each next task is leased to the waiting poller in the commit
# of the report before.
COMMITS_OF_A_CHAIN_MAX = STEPS + 1


async def run_in_process(node: Node, name: str, count: int = 1) -> None:
    """Run workflows to their end with a worker that always has a poll waiting."""
    async with waiting_worker(node, "step"):
        for _ in range(count):
            run = await node.start(name, {"x": 1})
            await node.until(lambda run=run: is_ended(node, run))


def is_ended(node: Node, workflow_id: str) -> bool:
    run = node.engine._cache.peek(workflow_id)
    return run is not None and run.workflow.status.is_terminal


async def test_a_chain_of_ten_steps_costs_eleven_commits(node: Node) -> None:
    await node.register(chain("ten", STEPS))
    await run_in_process(node, "ten")

    async with cost_of(node) as cost:
        await run_in_process(node, "ten")

    assert cost.commits <= COMMITS_OF_A_CHAIN_MAX
    assert cost.rows_written <= ROWS_A_STEP_MAX * STEPS
    assert cost.statements <= STATEMENTS_A_BATCH_MAX * cost.commits
    assert cost.refusals == 0


async def test_a_run_of_one_step_writes_few_rows(node: Node) -> None:
    await node.register(chain("one", 1))
    await run_in_process(node, "one")

    async with cost_of(node) as cost:
        await run_in_process(node, "one", count=10)

    assert cost.rows_written <= ROWS_A_STEP_MAX * 10
    assert cost.commits <= 2 * 10


async def test_a_step_over_http_writes_few_rows(node: Node) -> None:
    await node.register(chain("ten", STEPS))
    client = wire(node.engine)
    assert (await client.ask("POST /api/workflow/ten", {"x": 1})).status == 200
    await over_http(client, "step", STEPS)

    async with cost_of(node) as cost:
        assert (await client.ask("POST /api/workflow/ten", {"x": 1})).status == 200
        await over_http(client, "step", STEPS)

    # A poll and a report are two requests, so two commits; the claim moves a row to the leases.
    assert cost.commits <= 2 * STEPS + 1
    assert cost.rows_written <= ROWS_A_STEP_MAX * STEPS
    assert cost.statements <= STATEMENTS_A_BATCH_MAX * cost.commits


async def test_empty_polls_over_http_write_nothing(node: Node) -> None:
    client = wire(node.engine)
    assert (await client.ask("GET /api/tasks/poll/none")).status == 204
    node.store.forget()

    async with cost_of(node) as cost:
        for _ in range(5):
            assert (await client.ask("GET /api/tasks/poll/none")).status == 204
            assert (await client.ask("GET /api/tasks/poll/batch/none?count=5")).json == []

    assert cost.commits == 0
    assert set(node.store.calls) <= {"statistics"}


async def test_update_and_poll_is_one_commit_a_step(node: Node) -> None:
    await node.register(chain("ten", STEPS))
    await node.start("ten", {"x": 1})
    polled = await node.poll("step")

    async with cost_of(node) as cost:
        while polled is not None:
            polled = await node.engine.update_and_poll(report_of(polled, {"n": 1}))

    assert cost.commits <= STEPS
    assert cost.rows_written <= ROWS_A_STEP_MAX * STEPS


async def test_commands_that_come_together_share_a_commit(node: Node) -> None:
    batches = -(-200 // BATCH_MAX)  # each of the two waves, and one for the poll
    await node.register(chain("one", 1))
    await node.start("one", {"x": 1})

    async with cost_of(node) as cost:
        await asyncio.gather(*(node.start("one", {"x": n}) for n in range(200)))
        polled = await node.engine.poll("step", count=200, wait_ms=0)
        await asyncio.gather(*(node.engine.update(report_of(one)) for one in polled))

    assert cost.commits <= 2 * batches + 1
    assert cost.statements <= STATEMENTS_A_BATCH_MAX * cost.commits
    assert cost.rows_written <= (ROWS_A_STEP_MAX + 2) * 200


async def test_a_mixed_batch_needs_few_statements(node: Node) -> None:
    branches = [[simple("a")], [child("b", "inner")], [simple("c", "other")]]
    fork_task = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN"}
    join = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b", "c"]}
    await node.register(chain("inner", 1))
    await node.register(workflow("mixed", fork_task | {"forkTasks": branches}, join))
    await node.start("mixed", {"x": 1})
    polled = await node.engine.poll("step", count=2, wait_ms=0)

    async with cost_of(node) as cost:
        await asyncio.gather(
            *(node.start("mixed", {"x": 2}) for _ in range(5)),
            *(node.engine.update(report_of(one, {"n": 1})) for one in polled),
            node.engine.poll("other", wait_ms=0),
            node.engine.poll("step", wait_ms=0),
        )

    assert cost.statements <= STATEMENTS_A_BATCH_MAX * cost.commits


async def test_journal_entries_of_the_one_step_path_are_small(node: Node) -> None:
    await node.register(chain("one", 1))

    await run_in_process(node, "one", count=2)

    rows = await node.store.read_after(0, limit=100)
    assert [row.entry.kind for row in rows] == ["start", "update"] * 2
    for row in rows:
        assert len(row.entry.changed) <= JOURNAL_ENTRY_BYTES_MAX, row.entry.changed
    for row in rows[1::2]:
        entry = row.entry
        texts = (entry.kind, entry.actor, entry.request_id)
        # The run's id, the version, the time and the position: 16 and three times up to 8 bytes.
        size = len(entry.changed) + sum(len(text.encode()) for text in texts) + 16 + 24
        assert size <= JOURNAL_ENTRY_BYTES_MAX, entry.changed


@pytest.mark.parametrize("path", ["in process", "http"])
async def test_a_completion_touches_as_many_rows_in_a_large_run_as_in_a_small_one(
    node: Node, path: str
) -> None:
    client = wire(node.engine)
    costs = []
    for width in (100, 10_000):
        await node.register(fork(f"wide{width}", width, f"step{width}"))
        await node.start(f"wide{width}", {"x": 1})
        for _ in range(2):  # what is counted is the second: all is warm
            async with cost_of(node) as cost:
                if path == "http":
                    await over_http(client, f"step{width}", 1)
                else:
                    polled = await node.poll(f"step{width}")
                    await node.report(polled, {"n": 1})
        costs.append((cost.commits, cost.statements, cost.rows_written))

    assert costs[0] == costs[1]
    assert costs[0][2] <= ROWS_A_STEP_MAX
