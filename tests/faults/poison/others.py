"""Runs beside a damaged one, who works for all of them, and what is told of the damaged one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from batuta.model.error import BatutaError
from batuta.model.execution import WorkflowStatus
from batuta.runtime.engine import Engine
from batuta.runtime.search import SearchRequest
from batuta.runtime.why.collect import why
from tests.engine.definitions import chain, child, fork, simple, task_def, wait, workflow
from tests.engine.node import Clock, Node, NoScripts, OpenStore, running
from tests.faults.power.lineage import crash

COMPLETED = WorkflowStatus.COMPLETED
OTHERS_S = 5.0  # other runs must be through; some hundredths of a second when nothing is wrong

# What `why` says of the run: that it is damaged, and who knows more; that a message or a timer
# of it is quarantined; else, of a run that nothing is wrong with for those who work on it, what
# it waits for, or that it has ended.
UNREADABLE = r"stored row cannot be read|is damaged"
QUARANTINED = "quarantined: "
WAITING = "^('(held|ready|pause|child)' |the run is COMPLETED)"
TOLD = {
    "workflow: no JSON": UNREADABLE,
    "workflow: another shape": UNREADABLE,
    "workflow: an empty object": UNREADABLE,
    "workflow: no UTF-8": UNREADABLE,
    "task: no JSON": UNREADABLE,
    "task: an empty object": UNREADABLE,
    "task: no UTF-8": UNREADABLE,
    "task: of a node that is not": UNREADABLE,
    "task: gone": "the run is COMPLETED",
    "send: no JSON": QUARANTINED,
    "send: an unknown command": QUARANTINED,
    "send: of two senders": QUARANTINED,
    "timer: an unknown kind": QUARANTINED,
    "lease: no worker's name": UNREADABLE,
    "snapshot: no JSON": UNREADABLE,
}


VICTIM = workflow(
    "victim",
    {
        "name": "fork",
        "taskReferenceName": "fork",
        "type": "FORK_JOIN",
        "forkTasks": [
            [simple("held", "poisoned")],
            [simple("ready", "poisoned")],
            [wait("pause", "60 seconds")],
            [child("child", "one")],
        ],
    },
    {
        "name": "join",
        "taskReferenceName": "join",
        "type": "JOIN",
        "joinOn": ["held", "ready", "pause", "child"],
    },
)
OTHERS = [
    chain("one", 1),
    chain("chain", 3),
    fork("fork", 3),
    workflow("parent", child("c", "one"), simple("after")),
    workflow("waits", wait("pause", "2 seconds"), simple("after")),
]
NAMES = ("chain", "fork", "parent", "waits")


async def begin(open_store: OpenStore, clock: Clock) -> tuple[str, list[str]]:
    """Begin the victim's run and others; return their ids."""
    async with running(open_store, clock) as node:
        tasks = [task_def("poisoned", responseTimeoutSeconds=3600), task_def("step")]
        await node.register(*OTHERS, VICTIM, tasks=tasks)
        victim = await node.start("victim")
        assert await node.poll("poisoned")
        return victim, [await node.start(name) for name in NAMES]


@asynccontextmanager
async def live(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    """Give a node with its loops, which ends as in a crash: nobody waits for the poisoned run."""
    store = await open_store()
    engine = Engine(store, now_ms=clock.now_ms, scripts=NoScripts())
    engine.start_loops()
    try:
        yield Node(engine, store, clock)
    finally:
        await crash(engine, store)


async def work(node: Node, runs: list[str]) -> None:
    """Do all steps there are until the runs have ended."""

    async def worker() -> None:
        while True:
            for polled in await node.engine.poll("step", count=10, wait_ms=50):
                await node.report(polled, {})

    working = asyncio.create_task(worker())
    try:
        async with asyncio.timeout(OTHERS_S):
            for run in runs:
                while await node.status_of(run) is not COMPLETED:
                    assert not working.done(), working
                    node.clock.move(1_000)
                    node.engine.timers.hint()
                    await asyncio.sleep(0.01)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def trouble(node: Node, victim: str) -> None:
    """Poll, report, look at and control the poisoned run."""
    while True:
        for polled in await node.engine.poll("poisoned", count=5, wait_ms=10):
            with suppress(BatutaError):
                await node.report(polled, {})
        with suppress(BatutaError):
            await node.engine.get(victim)


async def shown(node: Node, run: str) -> None:
    """Check that a page of the newest runs has this one, a search too, and `why` explains it."""
    status = await node.engine.status()
    assert run in {one.workflow_id for one in status.recent}
    found = await node.engine.searches.runs(SearchRequest())
    assert run in {one.workflow.workflow_id for one in found.items}
    assert (await why(node.engine, run)).summary


async def told(node: Node, victim: str) -> str:
    """Return what `why` says."""
    async with asyncio.timeout(OTHERS_S):
        try:
            return (await why(node.engine, victim)).summary
        except BatutaError as error:
            return f"{type(error).__name__}: {error}"


def is_told(what: str, said: str) -> bool:
    """Tell whether `why` has said of a poisoned run what its poison calls for."""
    return re.search(TOLD.get(what, WAITING), said) is not None
