"""A disk that fills up refuses what does not fit, loses nothing, and is used again with room."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batuta.model.error import StoreError
from batuta.model.execution import WorkflowStatus
from tests.engine.definitions import chain
from tests.engine.node import Clock, Node, running, sqlite_opener
from tests.faults.scan import scan

LARGE = "x" * 1_000_000
PAGES_MAX = 2**31


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """Give a node on a file whose size the tests bound."""
    clock = Clock()
    async with running(sqlite_opener(tmp_path / "batuta.db", clock), clock) as node:
        await node.register(chain("one", 1))
        yield node
    assert scan(tmp_path / "batuta.db") == []


async def bound_pages(node: Node, pages: int) -> None:
    """Let the file have so many pages at most; 0 is as many as it has now."""
    await node.store._writer.run(
        lambda connection: connection.execute(f"PRAGMA max_page_count = {pages or 1}").fetchall()
    )


async def test_what_does_not_fit_is_refused_and_the_rest_goes_on(node: Node) -> None:
    running_before = await node.start_in_order("one", 3)
    held = await node.engine.poll("step", count=3, wait_ms=0)
    await bound_pages(node, 0)

    large = (node.start("one", {"x": LARGE}) for _ in range(3))
    answers = await asyncio.gather(*large, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreError] * 3

    await bound_pages(node, PAGES_MAX)
    for one in held:
        await node.report(one, {"n": 1})
    assert [await node.status_of(run) for run in running_before] == [WorkflowStatus.COMPLETED] * 3
    run = await node.start("one", {"x": LARGE})
    await node.report(await node.poll("step"))
    assert await node.status_of(run) is WorkflowStatus.COMPLETED
    assert sum((await node.store.counts()).values()) == 4


async def test_a_report_that_does_not_fit_is_refused_and_the_task_stays_in_hand(node: Node) -> None:
    run = await node.start("one")
    polled = await node.poll("step")
    await bound_pages(node, 0)

    with pytest.raises(StoreError, match="full"):
        await node.report(polled, {"large": LARGE})
    view = await node.task(run, "s0")
    assert view.lease == polled.lease

    await bound_pages(node, PAGES_MAX)
    await node.report(polled, {"large": LARGE})
    assert await node.status_of(run) is WorkflowStatus.COMPLETED
    assert (await node.task(run, "s0")).output.value == {"large": LARGE}
