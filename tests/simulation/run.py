"""One seed: a safety phase with faults, a quiet phase without, then the last checks."""

import asyncio
import contextlib
import gc
import logging
import re
from collections.abc import Iterator
from unittest import mock

from batuta.core import settle
from batuta.runtime import timers
from batuta.runtime.commit import committer, gather
from tests.simulation.actors.clients import Clients
from tests.simulation.checks import quiet
from tests.simulation.generate.task import CLEANUP, task_definitions
from tests.simulation.generate.workflow import workflow_definitions
from tests.simulation.generate.writer import drop, names_of
from tests.simulation.world.loop import SimLoop, StuckError
from tests.simulation.world.node import Node
from tests.simulation.world.plan import BrokenError, Lean
from tests.simulation.world.world import World

GARBAGE_MAX = 100_000  # objects made since the last collection; some seeds' worth
_COMMIT = re.compile(r" commit \d+$")
_DETAIL = re.compile(r" *[0-9.]+   ")  # what a commit did is indented below it


class Outcome:
    """What one seed came to."""

    def __init__(self, world: World, violation: BrokenError | None) -> None:
        self.seed = world.chance.seed
        self.lean = world.lean
        self.scale = world.scale.name
        self.violation = violation
        self.timeline = world.timeline
        self.virtual_s = world.loop.time()
        self.steps = world.loop.steps
        self.points = world.points_reached
        self.commits = world.checks.commits
        self.runs = len(world.state.runs)
        self.faults = world.faults
        self.evaluations = world.checks.evaluations
        self.transitions = world.checks.transitions
        self.covered = world.checks.agreement.covered
        self.happened = world.chance.happened
        self.references = world.references
        self.operations = world.operations

    @property
    def history(self) -> bytes:
        """The whole timeline as bytes: the same seed gives the same."""
        return "\n".join(self.timeline).encode()

    def story(self, lines_max: int = 60) -> str:
        """Return the timeline's end, and all that it says of the run that went wrong."""
        run = self.violation.run if self.violation else ""
        told = _without_empty(self.timeline)
        last = told[-lines_max:]
        of_run = [
            line
            for line in told[:-lines_max]
            if run and (f"{run} " in line or f"{run}." in line or "! " in line)
        ]
        return "\n".join([*of_run[-lines_max * 2 :], "...", *last])


def _without_empty(timeline: list[str]) -> list[str]:
    """Return the timeline without the commits that changed no run: empty polls, mostly."""
    followed = [*timeline[1:], ""]
    return [
        line
        for line, behind in zip(timeline, followed, strict=True)
        if not _COMMIT.search(line) or _DETAIL.match(behind)
    ]


def simulate(seed: int, lean: Lean = Lean()) -> Outcome:  # noqa: B008  frozen
    """Run one seed; planted bugs are patches around the call."""
    loop = SimLoop(f"{seed}/loop")
    world = World(seed, loop, lean)
    violation: BrokenError | None = None
    with _knobs(world), _quiet_logs(), _collect_seldom():
        try:
            loop.run_until_complete(_phases(world))
        except BrokenError as found:
            violation = found
        except StuckError as stuck:
            violation = BrokenError("I28", str(stuck), "")
        finally:
            outcome = Outcome(world, violation)
            loop.dispose()
    return outcome


@contextlib.contextmanager
def _collect_seldom() -> Iterator[None]:
    """Have garbage collected between seeds and not within them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > GARBAGE_MAX:
            gc.collect()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _knobs(world: World) -> Iterator[None]:
    """Turn named limits down in some seeds, so that what they bound happens."""
    chance = world.chance.stream("limits")
    with (
        mock.patch.object(committer, "BATCH_MAX", chance.choice([1, 3, 256])),
        mock.patch.object(settle, "SETTLE_STEPS_MAX", chance.choice([2, 500, 500])),
        mock.patch.object(committer, "PIPELINE_DEPTH", chance.choice([1, 2, 2, 5])),
        mock.patch.object(gather, "SETTLED_SENDS_MAX", chance.choice([0, 1, 64, 64])),
        mock.patch.object(timers, "DUE_MAX", chance.choice([8, 2_000, 2_000])),
    ):
        yield


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keep what the engine says of planned faults out of the output."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


async def _phases(world: World) -> None:
    from tests.simulation.actors.workers import Workers

    chance = world.chance.stream("definitions")
    for place in range(world.node_count):
        world.boot(place)
    first = world.nodes[0]
    assert first is not None, "it has just been started"
    scale = world.scale
    documents = workflow_definitions(
        chance, count=scale.definitions, shape=world.lean.shape, tasks_max=scale.tasks_max
    )
    for document in documents:
        document["tasks"] = drop(document["tasks"], world.lean.dropped)
        world.references |= names_of(document["tasks"])
    await first.engine.definitions.put_task_defs(task_definitions(chance))
    for document in documents:
        await first.engine.definitions.put_workflow_defs([document], overwrite=True)
    clients = Clients(world, [d for d in documents if d["name"] != CLEANUP])
    world.is_calm = False
    world.errand(clients.start_runs(_run_count(world), scale.safety_s * 0.7))
    actors = [
        clients.meddle(),
        clients.let_go(),
        _disturb(world),
        _watch(world),
    ]
    tasks = [world.loop.create_task(actor) for actor in actors]
    for task in tasks:
        task.add_done_callback(world.on_actor_done)
    Workers(world, count=scale.workers).start()
    await asyncio.sleep(scale.safety_s)
    world.is_calm = True
    world.note("the faults stop")
    await quiet.until_quiet(world)
    quiet.check_end(world)
    await quiet.check_restart(world)
    for task in tasks:
        task.cancel()


def _run_count(world: World) -> int:
    scale = world.scale
    count = world.chance.stream("runs").randint(scale.runs_min, scale.runs_max)
    return world.lean.runs or count


async def _disturb(world: World) -> None:
    """Crash and stop nodes, set clocks: what strikes whole machines."""
    while True:
        await asyncio.sleep(world.chance.stream("disturb").random() * 2)
        if world.is_calm:
            continue
        node = world.any_node("victim")
        if node is None or node.is_dead or node.stash is not None:
            continue
        if world.chance.strikes("node.crash", 0.06):
            world.crash(node, "at any await")
        elif world.chance.strikes("node.drain", 0.03):
            world.loop.create_task(world.drain(node))
        elif world.chance.strikes("node.stop", 0.03):
            world.errand(_stop(world, node))
        elif world.chance.strikes("clock.jump", 0.1):
            world.jump_clock()


async def _watch(world: World) -> None:
    """Look now and then at what no commit shows."""
    while True:
        await asyncio.sleep(0.5)
        world.checks.check_hands()


async def _stop(world: World, node: Node) -> None:
    seconds = world.chance.stream("node.stop.time").choice([0.2, 3.0, 15.0])
    world.fault("node.stop", f"{node.name} for {seconds} s")
    node.stop()
    await asyncio.sleep(seconds)
    if not node.is_dead:
        world.note(f"{node.name} goes on")
        node.go_on()
