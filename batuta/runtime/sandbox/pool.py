"""Who runs which script when: two lines of waiting scripts, one child for each.

A script waits in the first line, FIFO. One that was slow the last time it ran waits in the
second, so that it delays only its like, and has no part in what the first may hold. The second
child is started when it has something to do: a slow script waits, or the first child is stuck
while others wait for it. It ends when idle.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from math import ceil
from typing import Any

import msgspec

from batuta.model.change import Failure
from batuta.model.error import BusyError, ClosingError
from batuta.model.payload import Payload
from batuta.runtime.sandbox import (
    ARGUMENT_BYTES_MAX,
    FAILED,
    JAVASCRIPT,
    JQ,
    MESSAGE_CHARACTERS_MAX,
    RESULT_DEPTH_MAX,
    SCRIPT_MS_MAX,
    SOURCE_BYTES_MAX,
    time_message,
)
from batuta.runtime.sandbox.process import Answer, Child, ChildGoneError, start_child

CHILDREN_MAX = 2  # a child takes 25 MB; a third would need a third core
WAITING_MAX = 1_000  # scripts a line; at 4,000 a second a quarter of a second's work
WAITING_BYTES_MAX = 64_000_000  # of their arguments, a line
STUCK_MS = 100  # a thousand times what a usual script takes, twice what a child takes to start
IDLE_MS_MAX = 10_000  # how long the second child is kept without work
SLOW_SOURCES_MAX = 1_000  # remembered; 100 bytes each
ATTEMPTS_MAX = 2  # a child may die for a reason that is not the script's, as memory of others
# A child is replaced before its leaks or its CPU limit could matter.
CHILD_SCRIPTS_MAX = 10_000
CHILD_CPU_MS_MAX = 60_000

_STOPPING = "the server is stopping; the script was not run"

_log = logging.getLogger(__name__)


class _Job:
    __slots__ = ("answer", "argument", "attempts", "deadline_s", "key", "language", "source")

    def __init__(self, language: int, source: bytes, argument: bytes) -> None:
        self.language = language
        self.source = source
        self.argument = argument
        self.key = hash((language, source))
        self.attempts = 0
        self.deadline_s = 0.0  # loop time, set when it first runs
        self.answer: asyncio.Future[Payload | Failure] = asyncio.get_running_loop().create_future()


class _Line(deque[_Job]):
    """Waiting scripts, with the bytes of their arguments."""

    size_bytes = 0

    def put(self, job: _Job) -> None:
        self.append(job)
        self.size_bytes += len(job.argument)

    def take(self) -> _Job:
        job = self.popleft()
        self.size_bytes -= len(job.argument)
        return job


class Sandbox:
    """Runs JavaScript and jq in killable children; the first use starts the first child.

    Args:
        script_ms_max: How long one script may run.
        children_max: 1 or 2. With 1, a stuck script delays all others until its deadline.
        waiting_max: How many scripts may wait.
    """

    def __init__(
        self,
        *,
        script_ms_max: int = SCRIPT_MS_MAX,
        children_max: int = CHILDREN_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        assert 1 <= children_max <= CHILDREN_MAX, "there are one or two lines"
        self._script_ms_max = script_ms_max
        self._waiting_max = waiting_max
        self._children_max = children_max
        self._quick = _Line()
        self._slow = _Line()
        self._slow_sources: dict[int, None] = {}
        self._arrived = asyncio.Event()
        self._lines: dict[bool, asyncio.Task[None]] = {}  # by "is the second"
        self._children: dict[bool, Child] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the lines, and the ends of children
        self._is_stuck = False  # the first line's child
        self._is_stopped = False
        self._lost = 0  # children that were killed or died and have not been replaced yet
        self._counts = dict.fromkeys(
            ("evaluations", "failures", "kills", "deaths", "starts", "respawns"), 0
        )
        self._measures: dict[str, bool] | None = None

    async def start(self) -> None:
        """Accept scripts; nothing is started before the first of them."""
        self._is_stopped = False

    async def stop(self) -> None:
        """End the children; whoever still waits gets ClosingError."""
        self._is_stopped = True
        for line in self._lines.values():
            line.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for waiting in (self._quick, self._slow):
            while waiting:
                _refuse(waiting.take(), ClosingError(_STOPPING))

    def report(self) -> dict[str, Any]:
        """Return what the children gave up (None before the first), and what has happened."""
        return {
            "measures": self._measures,
            "scriptMsMax": self._script_ms_max,
            "children": [child.pid for child in self._children.values()],
            "waiting": len(self._quick) + len(self._slow),
            "slowSources": len(self._slow_sources),
            **self._counts,
        }

    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        """Return the value of the script's last expression, with ``argument`` (JSON) as ``$``.

        Returns:
            The value as JSON, undefined as null; or a Failure with JavaScript's message and line
            when the script throws, takes too long, or gives what JSON cannot hold.

        Raises:
            BusyError: Too many scripts wait, or no child can be started: try again.
            ClosingError: The server is stopping.

        Source: semantics.md c.9 "JS sandbox"; Conductor's ScriptEvaluator.
        """
        return await self._submit(JAVASCRIPT, source, argument)

    async def transform(self, program: str, argument: bytes) -> Payload | Failure:
        """Return all values of a jq program for ``argument`` (JSON) as a JSON list.

        Waits, is limited, fails and raises as ``evaluate``.

        Source: semantics.md c.9 JSON_JQ_TRANSFORM.
        """
        return await self._submit(JQ, program, argument)

    async def _submit(self, language: int, source: str, argument: bytes) -> Payload | Failure:
        if self._is_stopped:
            raise ClosingError(_STOPPING)
        encoded = source.encode(errors="replace")
        if len(encoded) > SOURCE_BYTES_MAX:
            return Failure(f"the script has {len(encoded)} bytes, over {SOURCE_BYTES_MAX}")
        if len(argument) > ARGUMENT_BYTES_MAX:
            return Failure(f"the script's $ has {len(argument)} bytes, over {ARGUMENT_BYTES_MAX}")
        job = _Job(language, encoded, argument)
        line = self._slow if self._is_known_slow(job) else self._quick
        is_too_much = line and line.size_bytes + len(argument) > WAITING_BYTES_MAX
        if is_too_much or len(line) >= self._waiting_max:
            raise BusyError(f"{len(line)} scripts wait for the sandbox; try again later")
        self._counts["evaluations"] += 1
        line.put(job)
        self._arrived.set()
        self._start_lines()
        answer = await job.answer
        self._counts["failures"] += isinstance(answer, Failure)
        return answer

    # -- the lines ------------------------------------------------------------------------------

    def _is_known_slow(self, job: _Job) -> bool:
        return job.key in self._slow_sources and self._children_max > 1

    def _take(self, *, is_second: bool) -> _Job | None:
        """Take the next job for a child; those whose callers have gone are dropped."""
        while True:
            if self._quick and (self._is_stuck or not is_second):
                job = self._quick.take()
                if self._is_known_slow(job):
                    # Found out while it waited: many of one bad source may come at once.
                    self._slow.put(job)
                    self._arrived.set()
                    self._start_lines()
                    continue
            elif self._slow and is_second:
                job = self._slow.take()
            else:
                return None
            if not job.answer.done():
                return job

    def _start_lines(self) -> None:
        """Start whoever has something to do and is not running."""
        if self._is_stopped:
            return
        has_work = {
            False: bool(self._quick),
            True: bool(self._slow or (self._quick and self._is_stuck and self._children_max > 1)),
        }
        for is_second, has in has_work.items():
            if has and is_second not in self._lines:
                self._lines[is_second] = self._spawn(self._run_line(is_second=is_second))

    async def _run_line(self, *, is_second: bool) -> None:
        """Serve one line; the second ends when it had nothing to do for IDLE_MS_MAX."""
        loop = asyncio.get_running_loop()
        served_s = loop.time()
        try:
            while not self._is_stopped:
                job = self._take(is_second=is_second)
                if job is None:
                    self._arrived.clear()
                    ends_s = served_s + IDLE_MS_MAX / 1_000 if is_second else None
                    if await self._is_idle(ends_s) and not self._arrived.is_set():
                        break
                    continue
                try:
                    await self._serve(job, is_second=is_second)
                except asyncio.CancelledError:
                    _refuse(job, ClosingError(_STOPPING))
                    raise
                except Exception as error:  # noqa: BLE001  the loop's top: this job's, no other's
                    _log.warning("a script could not be run: %r", error)
                    _refuse(job, BusyError(f"the script could not be run: {error}; try again"))
                    # Whatever state it is in: the next script gets another.
                    await self._end_child(is_second=is_second)
                served_s = loop.time()
        finally:
            # Before any await: whoever comes now starts a new line.
            del self._lines[is_second]
            await self._end_child(is_second=is_second)

    async def _is_idle(self, ends_s: float | None) -> bool:
        """Wait for a job until ``ends_s``, loop time; True when that has come."""
        try:
            async with asyncio.timeout_at(ends_s):
                await self._arrived.wait()
        except TimeoutError:
            return True
        return False

    # -- one script -----------------------------------------------------------------------------

    async def _serve(self, job: _Job, *, is_second: bool) -> None:
        """Run a script, in a new child if it must be, and answer its caller."""
        loop = asyncio.get_running_loop()
        while not job.answer.done():
            child = await self._child(is_second=is_second)
            job.attempts += 1
            started_s = loop.time()
            job.deadline_s = job.deadline_s or started_s + self._script_ms_max / 1_000
            stuck = loop.call_later(STUCK_MS / 1_000, self._note_stuck, job, is_second)
            try:
                async with asyncio.timeout_at(job.deadline_s):
                    answer = await child.run(
                        job.language, job.source, job.argument, self._script_ms_max
                    )
            except TimeoutError:
                self._lose("kills")
                _give(job, Failure(time_message(self._script_ms_max), is_late=True))
                await self._end_child(is_second=is_second)
            except ChildGoneError as error:
                self._lose("deaths")
                self._remember(job)
                _log.warning("script child %d is gone: %s", child.pid, error)
                await self._end_child(is_second=is_second)
                if job.attempts >= ATTEMPTS_MAX:
                    _give(job, Failure("the script ended the process that ran it"))
            else:
                _give(job, _read(answer, time_message(self._script_ms_max)))
                if loop.time() - started_s < STUCK_MS / 1_000:
                    self._slow_sources.pop(job.key, None)
                if child.served >= CHILD_SCRIPTS_MAX or child.cpu_ms > CHILD_CPU_MS_MAX:
                    await self._end_child(is_second=is_second)
            finally:
                stuck.cancel()
                self._is_stuck = self._is_stuck and is_second

    def _note_stuck(self, job: _Job, is_second: bool) -> None:  # noqa: FBT001  call_later
        """Remember a script that is slow, and let the second child help out if others wait."""
        self._remember(job)
        if is_second:
            return
        self._is_stuck = True
        self._arrived.set()
        self._start_lines()

    def _remember(self, job: _Job) -> None:
        """Have the script's source wait apart from now on, until it is quick again."""
        self._slow_sources[job.key] = None
        if len(self._slow_sources) > SLOW_SOURCES_MAX:
            del self._slow_sources[next(iter(self._slow_sources))]

    async def _child(self, *, is_second: bool) -> Child:
        child = self._children.get(is_second)
        if child is not None and child.is_gone:
            # It died idle, which is no script's fault and takes no attempt from this one.
            self._lose("deaths")
            await self._end_child(is_second=is_second)
            child = None
        if child is None:
            cpu_s_max = ceil((CHILD_CPU_MS_MAX + 2 * self._script_ms_max) / 1_000)
            child = self._children[is_second] = await start_child(cpu_s_max)
            self._counts["starts"] += 1
            if self._lost:
                self._lost -= 1
                self._counts["respawns"] += 1
            self._note_measures(child.report)
        return child

    def _lose(self, cause: str) -> None:
        self._counts[cause] += 1
        self._lost += 1

    def _note_measures(self, measures: dict[str, bool]) -> None:
        if self._measures is None:
            missing = [name for name, is_active in measures.items() if not is_active]
            if missing:
                _log.warning("scripts run without these measures: %s", ", ".join(missing))
        self._measures = measures

    async def _end_child(self, *, is_second: bool) -> None:
        child = self._children.pop(is_second, None)
        if child is not None:
            # A task of its own: to cancel this line must not leave the process half ended.
            await asyncio.shield(self._spawn(child.end()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _read(answer: Answer, late_message: str) -> Payload | Failure:
    """Turn a child's answer into ours; a child that was broken into may send anything."""
    if answer.kind == FAILED:
        # Cut again, in characters that it may have added a line's number to.
        message = answer.body.decode(errors="replace")[: MESSAGE_CHARACTERS_MAX + 100]
        return Failure(message, is_late=message == late_message)
    payload = Payload(answer.body)
    try:
        value = payload.value
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Failure(f"the script's value is not JSON: {error}")
    brackets = answer.body.count(b"{") + answer.body.count(b"[")
    if brackets > RESULT_DEPTH_MAX and _is_deep(value):
        return Failure(f"the script's value nests deeper than {RESULT_DEPTH_MAX} levels")
    return payload


def _is_deep(value: Any) -> bool:
    """Tell whether a value has more than RESULT_DEPTH_MAX levels, looking level by level."""
    level = [value]
    for _ in range(RESULT_DEPTH_MAX + 1):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True


def _give(job: _Job, answer: Payload | Failure) -> None:
    if not job.answer.done():
        job.answer.set_result(answer)


def _refuse(job: _Job, error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
