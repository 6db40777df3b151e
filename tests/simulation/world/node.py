"""One life of a server process, and the store as that process sees it."""

import asyncio
import contextvars
import traceback
from typing import TYPE_CHECKING, Any

import msgspec

from batuta.model.error import StoreError
from batuta.runtime.clock import StoreClock
from batuta.runtime.commit.batch import Share
from batuta.runtime.engine import Engine
from batuta.store.base import Batch, Committed
from batuta.store.memory import MemoryStore
from tests.simulation.actors import outbox
from tests.simulation.generate.script import answer_jq, answer_script
from tests.simulation.world.loop import NODE
from tests.simulation.world.plan import GoneError

if TYPE_CHECKING:
    from batuta.model.change import Failure
    from batuta.model.payload import Payload
    from tests.simulation.world.world import World


class SimStore(MemoryStore):
    """The memory store with a checker around each transaction; one object a node's life."""

    def __init__(self, world: "World", node: "Node", *, inline_bytes_max: int) -> None:
        self._world = world
        self._node = node
        self.is_shared = world.node_count > 1
        super().__init__(
            world.store_ms,
            pause=lambda point: world.at_store(point, node),
            inline_bytes_max=inline_bytes_max,
            state=world.state,
        )

    async def commit(self, batch: Batch) -> Committed:
        """Commit; sometimes the connection breaks and the database does it all the same, later."""
        if self._world.is_late(batch):
            self._world.fault("commit.late", self._node.name)
            delay_s = self._world.chance.stream("commit.late.time").choice([0.0, 0.01, 0.1, 2.0])
            loop = self._world.loop
            # Claims and heartbeats belong to the session; the decisions fence themselves.
            batch = msgspec.structs.replace(batch, claims=[], touches=[])
            loop.call_later(delay_s, self._write_late, batch, context=contextvars.Context())
            await asyncio.sleep(0)
            raise StoreError("the connection broke during the commit")
        return await super().commit(batch)

    def _write_late(self, batch: Batch) -> None:
        """Commit, unless a run has been removed meanwhile: the journal has its first row."""
        begun = [run for one in batch.decisions for run in one.runs if run.version_from == 0]
        ids = [run.workflow_id for run in begun if run.workflow_id not in self.state.runs]
        if any((workflow_id, 1) in self.state.requests for workflow_id in ids):
            self._world.note("the database refuses a late batch: a run's first version is there")
            return
        self._write(batch)
        # Leases in it may be of pollers that went with their node: trouble after they were made.
        self._world.fault("commit.written_late", self._node.name)

    def _write(self, batch: Batch) -> Committed:
        self._world.checks.before()
        committed = super()._write(batch)
        try:
            self._world.checks.after(batch, committed, self._node.name)
        except Exception as error:
            # The engine would take it for a store in trouble.
            where = "".join(traceback.format_exception(error)[-3:])
            self._world.fail("R13", f"the checker failed: {where}")
            raise
        self._world.ring()
        return committed


class Node:
    """One life of a server process."""

    def __init__(self, world: "World", place: int, life: int) -> None:
        self.name = f"n{place}.{life}"
        self.place = place
        self.is_dead = False
        self.stash: list[asyncio.Handle] | None = None
        self.tasks: list[asyncio.Task[Any]] = []
        self.replies: dict[asyncio.Future[Any], tuple[str, float]] = {}  # call, since when
        self._world = world
        self.context = contextvars.copy_context()
        self.context.run(NODE.set, self)
        self.store = SimStore(world, self, inline_bytes_max=world.inline_bytes_max)
        self.engine = self.context.run(self._compose)

    def _compose(self) -> Engine:
        world = self._world
        clock = StoreClock(
            wall=world.wall_ms,
            monotonic=world.loop.time,
            not_before_ms=world.state.committed_at_ms,
        )
        # Two nodes share the database's clock; one alone has a clock of its own.
        now_ms = world.store_ms if world.node_count > 1 else clock.now_ms
        engine = Engine(
            self.store,
            now_ms=now_ms,
            scripts=Sandbox(world),
            seeds=lambda: world.chance.seed_bytes("ids"),
            node=self.name + "-",
            cache_bytes_max=world.cache_bytes_max,
        )
        self._deafen(engine)
        return engine

    def _deafen(self, engine: Engine) -> None:
        """Have some hints get lost: the tables are the truth (RELIABILITY.md R3)."""
        queues, listened = engine.committer.queues, engine.timers
        hint, on_commit = queues.hint, listened.on_commit

        def hint_or_not(name: str) -> None:
            if not self._world.loses_hint():
                hint(name)

        def on_commit_or_not(share: Share) -> None:
            if not self._world.loses_hint():
                on_commit(share)

        queues.hint, listened.on_commit = hint_or_not, on_commit_or_not  # type: ignore[method-assign]

    def start(self) -> None:
        """Begin to fire what is due."""
        self.context.run(self.engine.start_loops)
        if self._world.has_outbox:
            self.context.run(outbox.start, self._world, self)

    def die(self) -> None:
        """Lose everything that is in memory, at whatever await each part is."""
        self.is_dead = True
        self._world.loop.lose(self.tasks)
        for reply in list(self.replies):
            if not reply.done():
                reply.set_exception(GoneError(f"{self.name} died"))

    def stop(self) -> None:
        """Let no callback of the node run, as under SIGSTOP."""
        self.stash = []

    def go_on(self) -> None:
        """Let the node run again; it does not know that time has passed."""
        stash, self.stash = self.stash or [], None
        self._world.loop._ready.extend(stash)


class Sandbox:
    """Answers the scripts of random definitions outside the small evaluator, in its time."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def evaluate(self, source: str, argument: bytes) -> "Payload | Failure":
        """Return what the script gives; a script that no definition has is a bug of ours."""
        await self._take_time()
        return answer_script(source, argument)

    async def transform(self, program: str, argument: bytes) -> "Payload | Failure":
        """Return all that the jq program gives, as a JSON list."""
        await self._take_time()
        return answer_jq(program, argument)

    async def _take_time(self) -> None:
        await asyncio.sleep(self._world.chance.stream("scripts").choice([0.0, 0.01, 0.5]))
