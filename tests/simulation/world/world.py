"""The simulated world: one store, its nodes, what goes wrong with them, the timeline.

Production code runs unmodified on it; only the store, the clock, the seeds and the transport are
replaced. A call to a node runs in that node's context, so that a crash takes it too; the caller
is then told that the connection broke, and knows no more than a real client would.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from batuta.core.graph import Graph, Snapshot
from batuta.model.error import StoreError
from batuta.runtime.engine import Engine
from batuta.store.base import Batch
from batuta.store.memory.rows import State
from tests.simulation.checks.answers import Ledger
from tests.simulation.checks.commit import Checks
from tests.simulation.world.chance import Chance
from tests.simulation.world.loop import SimLoop
from tests.simulation.world.node import Node
from tests.simulation.world.plan import BrokenError, GoneError, Lean, scale_of

EPOCH_MS = 1_790_000_000_000
HOUR_MS = 3_600_000

T = TypeVar("T")


class World:
    """Everything of one seed. ``is_calm`` True: no faults."""

    def __init__(self, seed: int, loop: SimLoop, lean: Lean) -> None:
        self.lean = lean
        self.scale = scale_of(seed, lean.scale)
        self.chance = Chance(seed, lean.rates, lean.muted, self.scale.fault_factor)
        self.loop = loop
        self.state = State()
        self.is_calm = True
        self.timeline: list[str] = []
        self.faults: Counter[str] = Counter()
        self.references: set[str] = set()  # names of the tasks that definitions have
        self.operations: Counter[str] = Counter()  # asked for, by kind and the run's status
        self._graphs: dict[str, Graph] = {}
        self._wall_offset_ms = 0
        self._down_until_s = 0.0
        self._crash_at = lean.crash_at
        self.points_reached = 0  # of the store, in the safety phase
        knobs = self.chance.stream("knobs")
        self.node_count = lean.node_count or knobs.choice([1, 2])
        self.cache_bytes_max = knobs.choice([0, 30_000, 64 << 20])
        self.inline_bytes_max = knobs.choice([0, 64, 16_384])
        self.checks = Checks(
            self.state, self.graph, self.fail, self.note, self.trouble_count, self.store_ms
        )
        self.ledger = Ledger(self.checks, self.fail)
        # In some seeds the journal is relayed to a reader: what each entry was told as.
        self.has_outbox = knobs.random() < 0.3
        self.told: list[tuple[str, bytes]] = []
        self.nodes: list[Node | None] = [None] * self.node_count
        self._lives = 0
        self.errands = 0  # of actors under way
        self._bells: list[asyncio.Future[None]] = []
        loop.set_exception_handler(self._on_unhandled)

    # -- time -----------------------------------------------------------------------------------

    def store_ms(self) -> int:
        """Return the time of the database."""
        return EPOCH_MS + int(self.loop.time() * 1_000)

    def wall_ms(self) -> int:
        """Return the wall clock of a machine, which somebody may set."""
        return self.store_ms() + self._wall_offset_ms

    def jump_clock(self) -> None:
        """Set the wall clock forward or back."""
        self._wall_offset_ms = self.chance.stream("clock").choice([-HOUR_MS, 0, HOUR_MS, 5_000])
        self.fault("clock.jump", str(self._wall_offset_ms))

    # -- what is said ---------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Add a line to the timeline."""
        self.timeline.append(f"{self.loop.time():9.3f} {text}")

    def fault(self, kind: str, text: str = "") -> None:
        """Count a fault and note it."""
        self.faults[kind] += 1
        self.note(f"! {kind} {text}")

    def trouble_count(self) -> int:
        """Return how often a node or the store has failed so far."""
        troubles = ("node.", "store.", "db.", "commit.")
        return sum(count for kind, count in self.faults.items() if kind.startswith(troubles))

    def fail(self, invariant: str, why: str, run: str = "") -> None:
        """Note a broken promise; the loop stops before its next callback."""
        name = self.checks.run_name(run) if run else ""
        self.note(f"VIOLATION {invariant} {name}: {why}")
        if self.loop.failure is None:
            self.loop.failure = BrokenError(invariant, why, name)

    def _on_unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.fail("R13", f"{context.get('message')}: {error!r}")

    def graph(self, digest: str) -> Graph:
        """Return the graph of a stored snapshot."""
        found = self._graphs.get(digest)
        if found is None:
            snapshot = msgspec.json.decode(self.state.snapshots[digest], type=Snapshot)
            found = self._graphs[digest] = Graph(snapshot, digest)
        return found

    # -- nodes ----------------------------------------------------------------------------------

    def boot(self, place: int) -> Node:
        """Start a node's next life on what the store has."""
        self._lives += 1
        node = self.nodes[place] = Node(self, place, self._lives)
        node.start()
        self.note(f"{node.name} starts")
        return node

    def crash(self, node: Node, where: str) -> None:
        """Kill a node and have it started again a little later."""
        if node.is_dead:
            return
        self.fault("node.crash", f"{node.name} {where}")
        node.die()
        self.nodes[node.place] = None
        delay_s = self.chance.stream("node.restart").choice([0.0, 0.05, 1.0, 6.0])
        self.loop.call_later(delay_s, self.boot, node.place, context=contextvars.Context())

    async def drain(self, node: Node) -> None:
        """Stop a node as SIGTERM does, then start it again; what it accepted is answered."""
        self.fault("node.drain", node.name)
        self.nodes[node.place] = None
        # When the node crashes meanwhile this never goes on, and the crash has it started again.
        await self.loop.create_task(node.engine.stop(), context=node.context)
        node.die()
        await asyncio.sleep(0.05)
        self.boot(node.place)

    def loses_hint(self) -> bool:
        """Say whether a hint inside a node gets lost now."""
        is_lost = not self.is_calm and self.chance.strikes("hint.drop", 0.05)
        self.faults["hint.drop"] += is_lost
        return is_lost

    def is_late(self, batch: Batch) -> bool:
        """Say whether a commit will be done after its connection broke; only a server does so."""
        is_over_network = not self.is_calm and self.node_count > 1 and bool(batch.decisions)
        return is_over_network and self.chance.strikes("commit.late", 0.005)

    def errand(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have an actor do something that ends; it is not quiet before."""
        self.errands += 1
        self.loop.create_task(work).add_done_callback(self._on_errand_done)

    def _on_errand_done(self, task: "asyncio.Task[Any]") -> None:
        self.errands -= 1
        self.on_actor_done(task)

    def on_actor_done(self, task: "asyncio.Task[Any]") -> None:
        """Say what an actor died of: nobody awaits it."""
        if not task.cancelled() and task.exception() is not None:
            self.fail("R13", f"an actor died of {task.exception()!r}")

    async def until_ready(self, wait_s: float) -> None:
        """Wait for a while, or until a commit leaves a task in a queue."""
        bell: asyncio.Future[None] = self.loop.create_future()
        self._bells.append(bell)
        over = self.loop.call_later(wait_s, _ring, bell)
        await bell
        over.cancel()
        if bell in self._bells:
            self._bells.remove(bell)

    def ring(self) -> None:
        """Wake those who wait for a task, when there is one."""
        if self.state.queues:
            for bell in self._bells:
                _ring(bell)
            self._bells.clear()

    def any_node(self, key: str) -> Node | None:
        """Return a node to talk to; None when the one chosen is down."""
        return self.chance.stream(key).choice(self.nodes)

    async def at_store(self, point: str, node: Node) -> None:
        """Be slow, fail or kill the node at a point of the store, as the seed says."""
        chance = self.chance
        stream = chance.stream("store.latency")
        await asyncio.sleep(stream.choice([0.0, 0.0002, 0.001, 0.004]))
        if self.is_calm:
            return
        self.points_reached += 1
        if self.points_reached == self._crash_at:
            self.crash(node, f"at {point}")
            await asyncio.sleep(1e9)
        if point.startswith("commit") and chance.strikes("commit.slow", 0.01):
            self.fault("commit.slow", node.name)
            await asyncio.sleep(stream.choice([0.2, 1.0, 4.0]))
        if chance.strikes(f"node.crash at {point}", 0.003):
            self.crash(node, f"at {point}")
            await asyncio.sleep(1e9)
        if chance.strikes("db.down", 0.0005):
            self._down_until_s = self.loop.time() + stream.choice([0.5, 5.0, 30.0])
            self.fault("db.down", f"until {self._down_until_s:.1f}")
        if self.loop.time() < self._down_until_s and point != "commit.after":
            await asyncio.sleep(0.01)
            raise StoreError("the database is down")
        if chance.strikes(f"store.{point}", 0.01):
            self.fault(f"store.{point}", node.name)
            raise StoreError(f"planned at {point}")

    # -- transport ------------------------------------------------------------------------------

    async def call(
        self,
        node: Node | None,
        work: Callable[[Engine], Coroutine[Any, Any, T]],
        name: str,
        judge: Callable[[T], None] = lambda _: None,
    ) -> T:
        """Call a node; ``judge`` sees the answer at the moment the server gives it.

        Raises:
            GoneError: The connection broke before or after the call was done.
        """
        if node is None or node.is_dead:
            await asyncio.sleep(0.02)
            raise GoneError("connection refused")
        if not self.is_calm and self.chance.strikes("rpc.drop_request", 0.01):
            self.fault("rpc.drop_request", name)
            await asyncio.sleep(0.05)
            raise GoneError("request lost")
        reply: asyncio.Future[T] = self.loop.create_future()
        node.replies[reply] = (name, self.loop.time())

        async def serve() -> None:
            try:
                answer = await work(node.engine)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  the wire carries any error
                if not reply.done():
                    reply.set_exception(error)
                return
            try:
                judge(answer)
            except Exception as error:  # noqa: BLE001  or the caller would wait for ever
                self.fail("R13", f"the checker failed at {name}: {error!r}")
            if not reply.done():
                reply.set_result(answer)

        served = self.loop.create_task(serve(), context=node.context)
        try:
            answer = await self._replied(reply)
        except asyncio.CancelledError:
            node.context.run(served.cancel)
            raise
        finally:
            node.replies.pop(reply, None)
        if not self.is_calm and self.chance.strikes("rpc.drop_reply", 0.01):
            self.fault("rpc.drop_reply", name)
            raise GoneError("reply lost")
        return answer

    @staticmethod
    async def _replied(reply: "asyncio.Future[T]") -> T:
        return await reply

    async def abandoned(self, work: Awaitable[T], key: str) -> T:
        """Await a call; sometimes the client loses patience and goes away in the middle."""
        if self.is_calm or not self.chance.strikes("rpc.abandon", 0.03):
            return await work
        self.fault("rpc.abandon", key)
        patience_s = self.chance.stream("rpc.patience").choice([0.0, 0.0005, 0.002, 0.01, 0.1])
        try:
            return await asyncio.wait_for(work, patience_s)
        except TimeoutError:
            raise GoneError("abandoned") from None


def _ring(bell: "asyncio.Future[None]") -> None:
    if not bell.done():
        bell.set_result(None)
