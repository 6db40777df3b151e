"""Commands that wait are bounded by their bytes, wherever they wait; what carries none is taken."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batuta.model.command import (
    ChildEnded,
    Command,
    FireTimer,
    LogTask,
    StartWorkflow,
    TerminateWorkflow,
    TimerKind,
    UpdateReference,
    UpdateTask,
)
from batuta.model.error import BusyError, NotFoundError, StoreError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.commit import backlog
from batuta.runtime.commit.backlog import payload_bytes
from batuta.runtime.view import Polled, Updated
from tests.engine.definitions import chain, fork
from tests.engine.node import LIMIT_S, WAIT_MS, Clock, Node, OpenStore, running, turns

BOUND = 10_000
HALF = Payload.of("x" * (BOUND // 2))
IDS = {"workflow_id": "w", "task_id": "t"}


class Gated:
    """A store whose commits wait for a gate, or fail; otherwise the one within."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_failing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Any) -> Any:
        """Wait, then commit."""
        await self.gate.wait()
        if self.is_failing:
            raise StoreError("the disk is full")
        return await self._store.commit(batch)


@pytest.fixture(params=["memory", "sqlite"])
def store_name(request: pytest.FixtureRequest) -> str:
    """Name the store: the bound is the node's, whatever its store."""
    return str(request.param)


@pytest.fixture
async def node(
    open_store: OpenStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Node]:
    """Give a node that holds few bytes for what waits."""
    monkeypatch.setattr(backlog, "INBOX_BYTES_MAX", BOUND)
    async with running(open_store, clock, wrap=Gated, trouble_wait_s=0) as node:
        yield node


def waiting_bytes(node: Node) -> int:
    return node.engine.committer.backlog.size_bytes


async def branches(node: Node, width: int) -> list[Polled]:
    """Start one run with so many tasks, all in hand; no commit goes through from here."""
    await node.register(fork("f", width))
    await node.start("f")
    polled = await node.engine.poll("step", count=width, wait_ms=WAIT_MS)
    assert len(polled) == width
    node.store.gate.clear()
    return polled


async def reporting(node: Node, polled: Polled, **fields: Any) -> "asyncio.Task[Updated]":
    """Send a report of half the bound, and return once it waits."""
    before = waiting_bytes(node)
    report = asyncio.create_task(node.report(polled, HALF.value, **fields))
    async with asyncio.timeout(LIMIT_S):
        while waiting_bytes(node) == before:
            await turns(1)
    return report


async def test_a_report_beyond_the_bound_is_refused_at_once_and_taken_later(node: Node) -> None:
    first, second, third = await branches(node, 3)
    waiting = [await reporting(node, first), await reporting(node, second)]
    assert waiting_bytes(node) == 2 * HALF.size_bytes >= BOUND, "behind a busy run, too"

    with pytest.raises(BusyError, match=f"{2 * HALF.size_bytes} bytes of commands are waiting"):
        await node.report(third, {})
    node.store.gate.set()
    await asyncio.gather(*waiting)

    assert waiting_bytes(node) == 0
    await node.report(third, {})
    assert await node.status_of(first.workflow.workflow_id) is WorkflowStatus.COMPLETED


async def test_starts_and_reports_share_the_bound(node: Node) -> None:
    first, second = await branches(node, 2)
    waiting = [await reporting(node, first), await reporting(node, second)]

    with pytest.raises(BusyError):
        await node.start("f", {"x": 1})

    node.store.gate.set()
    await asyncio.gather(*waiting)
    await node.start("f", {"x": 1})


async def test_what_carries_nothing_is_taken_beyond_the_bound(node: Node) -> None:
    first, second, _ = await branches(node, 3)
    waiting = [await reporting(node, first), await reporting(node, second)]
    workflow_id = first.workflow.workflow_id

    ending = asyncio.create_task(
        node.engine.control(TerminateWorkflow(workflow_id=workflow_id, reason="enough"))
    )
    await turns()
    assert not ending.done()
    node.store.gate.set()
    await asyncio.gather(*waiting, ending)

    assert await node.status_of(workflow_id) is WorkflowStatus.TERMINATED
    assert waiting_bytes(node) == 0


async def test_a_stored_send_is_never_refused(node: Node) -> None:
    """Its timer would set it aside after a few refusals."""
    first, second = await branches(node, 2)
    waiting = [await reporting(node, first), await reporting(node, second)]
    ended = ChildEnded(
        workflow_id="nowhere",
        task_id="t",
        child_id="c",
        status=TaskStatus.COMPLETED,
        output=HALF,
    )

    with pytest.raises(NotFoundError):
        await node.engine.committer.submit(ended, send_id=7)

    node.store.gate.set()
    await asyncio.gather(*waiting)
    assert waiting_bytes(node) == 0


async def test_a_caller_that_has_gone_leaves_its_bytes_until_they_are_stored(node: Node) -> None:
    first, second, third = await branches(node, 3)
    waiting = [await reporting(node, first), await reporting(node, second)]
    for report in waiting:
        report.cancel()
    await asyncio.wait(waiting)

    with pytest.raises(BusyError):
        await node.report(third, {})

    node.store.gate.set()
    await node.until(lambda: waiting_bytes(node) == 0)


async def test_a_command_that_is_refused_by_its_run_leaves_nothing(node: Node) -> None:
    with pytest.raises(NotFoundError):
        await node.engine.update(UpdateTask(**IDS, status=TaskStatus.COMPLETED, output=HALF))

    assert waiting_bytes(node) == 0


async def test_a_command_that_cannot_be_stored_leaves_nothing(node: Node) -> None:
    [polled] = await branches(node, 1)
    report = await reporting(node, polled)

    node.store.is_failing = True
    node.store.gate.set()

    with pytest.raises(StoreError):
        await report
    assert waiting_bytes(node) == 0


async def test_starts_beyond_the_count_are_refused_at_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "INBOX_MAX", 2)
    await node.register(chain("one", 1))
    await node.start("one")

    starts = await asyncio.gather(*(node.start("one") for _ in range(4)), return_exceptions=True)

    assert [isinstance(one, BusyError) for one in starts] == [False, False, True, True]


@pytest.mark.parametrize(
    ("command", "size_bytes"),
    [
        (StartWorkflow(workflow_id="w", name="n", definition="d", input=Payload(b"[1,2]")), 5),
        (UpdateTask(**IDS, status=TaskStatus.COMPLETED, output=Payload(b"[1]")), 3),
        (UpdateTask(**IDS, status=TaskStatus.FAILED, logs=("one", "three")), 8),
        (UpdateReference(workflow_id="w", reference_name="r", status=TaskStatus.COMPLETED), 0),
        (LogTask(**IDS, line="a line"), 6),
        (ChildEnded(**IDS, child_id="c", status=TaskStatus.COMPLETED, output=EMPTY), 2),
        (TerminateWorkflow(workflow_id="w"), 0),
        (FireTimer(**IDS, kind=TimerKind.WAIT, due_at_ms=1), 0),
    ],
)
def test_a_command_weighs_what_its_client_sent(command: Command, size_bytes: int) -> None:
    assert payload_bytes(command) == size_bytes
