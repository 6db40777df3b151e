"""What holds once the faults have stopped: everything ends, nothing is left over or lost."""

import asyncio
from typing import Any

from batuta.model.execution import TaskStatus
from batuta.model.limit import split_part
from batuta.runtime.search import SearchRequest
from batuta.store.base import QueueDepth
from tests.simulation.world.node import Node
from tests.simulation.world.world import World

QUIET_S = 3_000.0  # within which every run must have ended once the faults have stopped
CALL_S_MAX = 120.0  # a call waits for a store in trouble, but never for ever
READY_MS_MAX = 60_000  # within which some worker polls every queue and is given what is ready
# Orders that pages are asked for in; many runs are alike in each.
SORTS = (None, "startTime:ASC", "status:DESC,workflowType:ASC", "updateTime:DESC")


async def until_quiet(world: World) -> None:
    """I25, I29: everything ends once the faults have stopped."""
    until_s = world.loop.time() + QUIET_S
    while world.loop.time() < until_s:
        await asyncio.sleep(2.0)
        _check_waits(world)
        has_ended = all(run.workflow.status.is_terminal for run in world.state.runs.values())
        unread = len(world.state.journal) - len(world.told) if world.has_outbox else 0
        has_left = world.state.sends or world.state.timers or world.errands or unread
        if has_ended and not has_left:
            return
    for run, row in world.state.runs.items():
        if not row.workflow.status.is_terminal:
            live = [r.task for r in row.tasks.values() if not r.task.status.is_terminal]
            what = ", ".join(f"{t.reference_name} {t.status} {_where(world, t)}" for t in live)
            world.fail("I29", f"{row.workflow.status} for ever: {what}", run)
            return
    if world.has_outbox and len(world.told) < len(world.state.journal):
        world.fail("I38", f"{len(world.told)} of {len(world.state.journal)} entries were told")
        return
    timers = [(world.checks.run_name(run), kind) for run, _, kind in world.state.timers]
    sends = [str(send.document)[:150] for send in world.state.sends.values()]
    world.fail("I29", f"left for ever: timers {timers}, sends {sends}")


def _check_waits(world: World) -> None:
    """I28, I30, I32: nobody waits for ever: no caller, no ready task, no quarantined row."""
    now_s, now_ms = world.loop.time(), world.store_ms()
    for node in filter(None, world.nodes):
        for name, since_s in node.replies.values():
            if now_s - since_s > CALL_S_MAX:
                world.fail("I28", f"a call of {name} has hung for {now_s - since_s:.0f} s")
    for failing in getattr(world.state, "failing", {}).values():
        if failing.retry_at_ms is None:
            world.fail("I32", f"quarantined: {failing.error}", failing.workflow_id)
    for row in world.state.ready.values():
        if split_part(row.enqueue.queue)[1]:
            continue  # it may have to wait for its limit
        if (
            now_ms - row.enqueue.at_ms > READY_MS_MAX
            and now_s > world.scale.safety_s + READY_MS_MAX / 1_000
        ):
            queue = row.enqueue.queue
            world.fail("I30", f"a task of {queue!r} is ready and not handed out", row.workflow_id)


def _where(world: World, task: Any) -> str:
    state = world.state
    places = [name for name in ("ready", "held") if task.task_id in getattr(state, name)]
    places += [
        f"{kind} due {due - world.store_ms():+}"
        for (_, task_id, kind), due in state.timers.items()
        if task_id == task.task_id
    ]
    return f"({', '.join(places) or 'nowhere'})"


def check_end(world: World) -> None:
    """What holds when all is quiet: nothing pending, nothing lost, families agree."""
    state = world.state
    for table in ("ready", "held", "timers", "sends"):
        if getattr(state, table):
            world.fail("I7", f"{table} is not empty: {list(getattr(state, table))[:3]}")
    for run, row in state.runs.items():
        world.checks.check_journal(run)
        for task_row in row.tasks.values():
            task = task_row.task
            if not task.child_id or task.is_retried:
                continue
            if task.child_id not in state.runs:
                continue  # removed
            child = state.runs[task.child_id].workflow
            if child.status.is_terminal is not task.status.is_terminal:
                world.fail("I19", f"{task.reference_name} {task.status}, {child.status}", run)
            if task.status in {TaskStatus.CANCELED, TaskStatus.TIMED_OUT}:
                continue  # by its own run or limit, maybe while its child's answer was on its way
            if child.epoch:
                # Retried: a completed one with cancelled tasks is moot for its parent, and its
                # earlier end may have crossed its parent's retry.
                continue
            is_same = task.status.is_successful == child.status.is_successful
            if (
                not is_same
                and not world.graph(row.workflow.definition).node_of(task).policy.is_optional
            ):
                world.fail("I19", f"{task.reference_name} {task.status}, child {child.status}", run)
    world.ledger.recheck()


async def check_restart(world: World) -> None:
    """I26, I36: another start on the same data finds nothing to do; depths equal a recount."""
    for _ in range(100):
        if not all(world.nodes):
            await asyncio.sleep(0.1)  # one that drains comes again
    commits = world.checks.commits
    for place, node in enumerate(world.nodes):
        if node is not None:
            node.die()
            world.boot(place)
    await asyncio.sleep(4.0)
    for node in filter(None, world.nodes):
        if node.engine.committer._holds or node.engine.committer._inbox:
            world.fail("I28", f"{node.name} is busy with runs, though nothing is to be done")
    journal_count = sum(len(shadow.entries) for shadow in world.checks.shadows.values())
    if len(world.state.journal) != journal_count:
        world.fail("I26", f"a start on quiet data wrote to the journal after commit {commits}")
    node = next(n for n in world.nodes if n is not None)
    depths: list[QueueDepth] = await node.store.queues()
    if depths:
        world.fail("I36", f"queues of nothing: {depths}")
    await _check_pages(world, node)


async def _check_pages(world: World, node: Node) -> None:
    """I35: turning pages shows each run and each task once, whatever they are ordered by."""
    chance = world.chance.stream("pages")
    world.checks.evaluations.update(("I35",))
    sort, size = chance.choice(SORTS), chance.choice([1, 2, 5, 100])
    runs: list[str] = []
    while len(runs) == 0 or len(runs) % size == 0:
        request = SearchRequest(sort=sort, start=len(runs), size=size)
        page = await node.engine.searches.runs(request)
        runs += [view.workflow.workflow_id for view in page.items]
        if not page.items:
            break
    if sorted(runs) != sorted(world.state.runs):
        why = f"{len(runs)} runs on pages of {size} by {sort}, {len(world.state.runs)} are there"
        world.fail("I35", why)
    stored = world.state.runs.values()
    tasks = [t.task.task_id for run in stored for t in run.tasks.values() if not t.is_retired]
    shown: list[str] = []
    for start in range(0, len(tasks) + size, size):
        found = await node.engine.searches.tasks(SearchRequest(start=start, size=size))
        shown += [view.task.task_id for _, view in found.items]
    if sorted(shown) != sorted(tasks):
        world.fail("I35", f"{len(shown)} tasks on pages of {size}, {len(tasks)} are there")
