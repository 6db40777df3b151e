"""A thread and a loop of its own for each piece of user code: one that blocks delays nobody."""

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

from batuta.workers.thread import DaemonExecutor

GRACE_S = 2.0  # for a step that is told to stop; then it is left behind

_log = logging.getLogger(__name__)


class StepTimeoutError(TimeoutError):
    """The step took longer than it may."""


class StepStoppedError(Exception):
    """The step was told to stop: its job has ended meanwhile."""


async def in_own_thread(
    call: Callable[[], Any], *, limit_s: float, stop: asyncio.Event, name: str
) -> Any:
    """Return what a call returns, or what comes of the coroutine that it returns.

    One that will not stop is left behind: its thread is a daemon, and its result is nobody's.

    Args:
        limit_s: How long it may take.
        stop: Set it to have the call cancelled.

    Raises:
        StepTimeoutError: It took longer. StepStoppedError: ``stop`` was set.
        Exception: Whatever the call raises; what is no Exception comes as a RuntimeError.
    """
    strand = _Strand(call, name)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait(
            {strand.done, stopping}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
    except asyncio.CancelledError:
        await strand.end()
        raise
    finally:
        stopping.cancel()
    if strand.done.done():
        return strand.done.result()
    await strand.end()
    raise StepStoppedError if stop.is_set() else StepTimeoutError


class _Strand:
    """A thread with a loop that does one call."""

    def __init__(self, call: Callable[[], Any], name: str) -> None:
        self._call = call
        self._waiting = asyncio.get_running_loop()
        self._own: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.done: asyncio.Future[Any] = self._waiting.create_future()
        self._has_ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def end(self) -> None:
        """Cancel the call and wait for GRACE_S until it has ended."""
        if self._own is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # its loop has closed by itself
                self._own.call_soon_threadsafe(self._task.cancel)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._has_ended.wait()
        if not self._has_ended.is_set():
            _log.warning("%s does not stop and is left behind", self._thread.name)
        if self.done.done() and not self.done.cancelled():
            self.done.exception()  # nobody asks for it any more

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - it must be told, whatever it is
            self._tell(None, error)
        finally:
            self._in_waiting(self._has_ended.set)

    async def _main(self) -> None:
        self._own, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._own.set_default_executor(DaemonExecutor())
        found = self._call()
        if inspect.isawaitable(found):
            found = await found
        # before the loop closes, which waits for threads that the step has left
        self._tell(found, None)
        self._in_waiting(self._has_ended.set)

    def _tell(self, result: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if self.done.done():
                return
            if error is None:
                self.done.set_result(result)
            elif isinstance(error, Exception) and not isinstance(error, StopIteration):
                self.done.set_exception(error)
            else:
                told = f"the step raised {type(error).__name__}: {error}"
                self.done.set_exception(RuntimeError(told))

        self._in_waiting(settle)

    def _in_waiting(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop that waited has gone
            self._waiting.call_soon_threadsafe(call)
