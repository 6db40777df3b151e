"""The loop of every worker, whatever it polls through: take a task, do it, report, go on.

Each task function has as many lanes as it may do tasks at once. A lane is one coroutine for the
worker's whole life: nothing is created for a task, and the report of one task brings the next.
"""

import asyncio
import functools
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from batuta.workers import outcome as outcomes
from batuta.workers.backoff import Backoff
from batuta.workers.function import Job, TaskContext, TaskFunction
from batuta.workers.heartbeat import Heartbeat
from batuta.workers.outcome import Outcome
from batuta.workers.thread import LeftBehindError, Runner

log = logging.getLogger(__name__)


class Transport(Protocol):
    """How a worker reaches the engine. Each method retries by itself what may pass."""

    async def take(self, function: TaskFunction) -> Job | None:
        """Wait for a task; None when none came for a while. Safe to cancel."""

    async def report(self, job: Job, outcome: Outcome, *, is_taking: bool) -> Job | None:
        """Report until it is accepted or can never be; the answer may be the next task."""

    async def extend(self, job: Job) -> bool:
        """Keep the task for another lease; False when it is no longer ours."""

    async def add_log(self, job: Job, line: str) -> None:
        """Add a line to the task's log; whatever it raises, it is called again with the line."""

    async def close(self) -> None:
        """Let go of what the transport holds."""


class Workers:
    """The lanes of some task functions on one transport."""

    def __init__(self, transport: Transport, functions: Sequence[TaskFunction]) -> None:
        self._transport = transport
        self._functions = tuple(functions)
        self._runner = Runner()
        self._lanes: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[Any]] = set()
        self._is_draining = False

    def start(self) -> None:
        """Open the lanes on the running loop."""
        for function in self._functions:
            for number in range(function.concurrency):
                lane = asyncio.create_task(
                    self._lane(function), name=f"worker {function.task_type} {number}"
                )
                self._lanes.add(lane)
                lane.add_done_callback(self._lanes.discard)

    async def drain(self, wait_ms: int) -> None:
        """Take nothing more, wait for what is under way, and end the rest.

        What is cancelled after `wait_ms` is given back when it could be stopped, so that another
        worker goes on with it at once; what could not is offered again when its lease has ended.
        """
        self._is_draining = True
        for lane in tuple(self._idle):
            lane.cancel()
        lanes = tuple(self._lanes)
        if lanes:
            _, late = await asyncio.wait(lanes, timeout=wait_ms / 1000)
            if late:
                log.warning("%d tasks are still under way after %d ms", len(late), wait_ms)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        await self._runner.close()
        await self._transport.close()

    async def _lane(self, function: TaskFunction) -> None:
        lane = asyncio.current_task()
        assert lane is not None, "a lane is a task"
        job: Job | None = None
        backoff = Backoff()
        while job is not None or not self._is_draining:
            try:
                if job is None:
                    job = await self._take(function, lane)
                else:
                    job = await self._finish(function, job)
            except Exception:  # a loop's top: a lane lives as long as its worker
                log.exception("a worker of %s failed, going on", function.task_type)
                job = None
                await backoff.wait()

    async def _take(self, function: TaskFunction, lane: asyncio.Task[Any]) -> Job | None:
        self._idle.add(lane)
        try:
            return await self._transport.take(function)
        finally:
            self._idle.discard(lane)

    async def _finish(self, function: TaskFunction, job: Job) -> Job | None:
        """Do the task and report it; the answer may be the next one."""
        if self._is_draining:
            outcome: Outcome | None = outcomes.GIVEN_BACK
        else:
            outcome = await self._do(function, job)
        if outcome is None:
            return None
        return await self._transport.report(job, outcome, is_taking=not self._is_draining)

    async def _do(self, function: TaskFunction, job: Job) -> Outcome | None:
        """Call the function; None when it could not be stopped and still runs."""
        context = TaskContext(job, msgspec.json.decode(job.input) or {})
        try:
            arguments = function.bind(context.input, context)
            if function.is_inline:
                result = function.call(**arguments)
                if function.is_async:
                    result = await result
            else:
                result = await self._run_elsewhere(function, context, arguments)
        except LeftBehindError:
            return None
        except asyncio.CancelledError as error:
            if not _is_being_cancelled():
                return outcomes.of_error(error, context.take_lines())
            context.cancel()
            return outcomes.GIVEN_BACK if function.is_async else None
        except Exception as error:  # noqa: BLE001 - whatever the function raises is its failure
            return outcomes.of_error(error, context.take_lines())
        return outcomes.of_result(result, context.take_lines())

    async def _run_elsewhere(
        self, function: TaskFunction, context: TaskContext, arguments: dict[str, Any]
    ) -> Any:
        heartbeat = Heartbeat(self._transport, context)
        try:
            if function.is_async:
                return await self._runner.run_async(function.call(**arguments))
            return await self._runner.run_plain(functools.partial(function.call, **arguments))
        finally:
            await heartbeat.stop()


def _is_being_cancelled() -> bool:
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
