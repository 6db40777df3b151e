"""Keeping a task while its function works, and sending its log lines meanwhile."""

import asyncio
import logging
from typing import Protocol

from batuta.workers.function import Job, TaskContext

log = logging.getLogger(__name__)

LEASE_SHARE = 0.8  # of a lease, as the official SDKs do; leaves a fifth for the call itself
STOP_S = 2.0  # that the end of a task waits for a line that is being sent
TICK_S = 2.0  # log lines of a long task are this old at most before they are sent


class Keeper(Protocol):
    """The part of a transport that a heartbeat needs."""

    async def extend(self, job: Job) -> bool:
        """Keep the task for another lease; False when it is no longer ours."""

    async def add_log(self, job: Job, line: str) -> None:
        """Add a line to the task's log; whatever it raises, it is called again with the line."""


class Heartbeat:
    """Beats from its creation until `stop`. A short task costs one timer that never fires."""

    def __init__(self, keeper: Keeper, context: TaskContext) -> None:
        self._keeper = keeper
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._lease_s = context.job.lease_ms / 1000 * LEASE_SHARE
        self._tick_s = min(self._lease_s, TICK_S) if self._lease_s else TICK_S
        self._extended_at_s = self._loop.time()
        self._beat: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    async def stop(self) -> None:
        """End it; what is just being sent is waited for, so that no line is sent twice."""
        self._timer.cancel()
        self._is_stopped = True
        if self._beat is not None and not self._beat.done():
            await asyncio.wait({self._beat}, timeout=STOP_S)
            self._beat.cancel()

    def _tick(self) -> None:
        if self._beat is None or self._beat.done():
            self._beat = self._loop.create_task(self._send())
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    async def _send(self) -> None:
        context = self._context
        try:
            if self._lease_s and self._loop.time() + self._tick_s / 2 >= self._due_at_s():
                self._extended_at_s = self._loop.time()
                if not await self._keeper.extend(context.job):
                    log.warning("task %s is no longer ours", context.task_id)
                    context.cancel()
            while context.lines and not self._is_stopped:
                await self._keeper.add_log(context.job, context.lines[0])
                context.lines.popleft()  # what was not sent goes with the next beat or the report
        except Exception:  # a beat that failed is made up for by the next one
            log.warning("heartbeat of task %s failed", context.task_id, exc_info=True)

    def _due_at_s(self) -> float:
        return self._extended_at_s + self._lease_s
