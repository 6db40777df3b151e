"""An event loop with a seed: virtual time, a random ready callback first, nodes that can die.

Every callback carries the context it was made in. One made by a node (``NODE`` is set) is dropped
for ever when that node has crashed, and waits while the node is stopped, as under SIGSTOP: a
crash strikes at whatever await the node happens to be.
"""

import asyncio
import contextlib
import contextvars
import heapq
import random
from contextvars import ContextVar
from typing import Any, Protocol

STEPS_A_MOMENT_MAX = 200_000  # callbacks without time going on: something spins


class Host(Protocol):
    """What the loop asks a node."""

    is_dead: bool
    stash: list[asyncio.Handle] | None  # callbacks held back while the node is stopped
    tasks: list[asyncio.Task[Any]]  # all that it ever made


NODE: ContextVar[Host | None] = ContextVar("NODE", default=None)


class StuckError(Exception):
    """Nothing is runnable and nothing is timed, or time does not go on."""


class SimLoop(asyncio.BaseEventLoop):
    """Runs callbacks in an order that its seed chooses; time jumps when nothing is ready."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._ready: list[asyncio.Handle] = []  # in no order: any of them may come next
        # A heap of tuples is ordered without a call of Python's; the number says who came first.
        self._alarms: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._alarm_count = 0
        self._chance = random.Random(seed)
        self._now_s = 0.0
        self._steps_now = 0
        self.steps = 0
        self.failure: BaseException | None = None
        self._lost: list[asyncio.Task[Any]] = []
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._now_s

    def call_at(
        self,
        when: float,
        callback: Any,
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._alarm_count += 1
        heapq.heappush(self._alarms, (when, self._alarm_count, timer))
        return timer

    def lose(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Keep the tasks of a dead node: nobody resumes them, nobody is told."""
        for task in tasks:
            task._log_destroy_pending = False
        self._lost += tasks

    def _run_once(self) -> None:
        while not self._stopping:
            handle = self._next()
            self.steps += 1
            self._steps_now += 1
            if self._steps_now > STEPS_A_MOMENT_MAX:
                raise StuckError(
                    f"{STEPS_A_MOMENT_MAX} callbacks and time does not go on: {handle!r}"
                )
            handle._run()
            if self.failure is not None:
                raise self.failure

    def _next(self) -> asyncio.Handle:
        ready, draw = self._ready, self._chance.random
        while True:
            if self._alarms and self._alarms[0][0] <= self._now_s:
                self._take_due()
            if not ready:
                self._jump()
                continue
            place = int(draw() * len(ready))
            ready[place], ready[-1] = ready[-1], ready[place]
            handle = ready.pop()
            if handle._cancelled:
                continue
            node = handle._context.get(NODE)
            if node is None:
                return handle
            if node.is_dead:
                continue
            if node.stash is not None:
                node.stash.append(handle)
                continue
            return handle

    def _take_due(self) -> None:
        alarms = self._alarms
        while alarms and alarms[0][0] <= self._now_s:
            timer = heapq.heappop(alarms)[2]
            if not timer._cancelled:
                self._ready.append(timer)

    def _jump(self) -> None:
        alarms = self._alarms
        while alarms and alarms[0][2]._cancelled:
            heapq.heappop(alarms)
        if not alarms:
            raise StuckError("nothing is runnable and nothing is timed")
        self._now_s = max(self._now_s, alarms[0][0])
        self._steps_now = 0

    def _process_events(self, _event_list: object) -> None:
        raise AssertionError("a simulation has no sockets")

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """Close a generator that nobody finished, now: when it is collected is no event."""
        self._asyncgens.discard(agen)
        with contextlib.suppress(BaseException):
            agen.aclose().send(None)

    def _write_to_self(self) -> None:
        raise AssertionError("a simulation has no threads")

    def dispose(self) -> None:
        """Close what is left: the coroutines of dead nodes and of actors that still wait."""
        self._chance.seed(0)
        self.set_exception_handler(lambda _loop, _context: None)
        asyncio._set_running_loop(self)
        try:
            for task in [*self._lost, *asyncio.all_tasks(self)]:
                task._log_destroy_pending = False
                coroutine = task.get_coro()
                if coroutine is not None:
                    with contextlib.suppress(BaseException):
                        coroutine.close()
        finally:
            asyncio._set_running_loop(None)
        self._ready.clear()
        self._alarms.clear()
        self.close()


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **given: Any) -> Any:
    task = asyncio.Task(coroutine, loop=loop, **given)
    context = given.get("context")
    node = NODE.get() if context is None else context.get(NODE)
    if node is not None:
        node.tasks.append(task)
    return task
