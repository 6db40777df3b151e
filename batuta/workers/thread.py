"""Where user code runs: a loop of its own for async functions, a bounded pool for plain ones.

The loop that polls and reports is never user code's: a function that blocks its loop delays other
async functions, and neither the server nor a heartbeat. All threads are daemons, so that a
function that will not end cannot keep a stopped process alive.
"""

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

THREADS_MAX = 32  # plain functions at once in one process; each is a thread

STOP_S = 1.0  # that cancelled code gets to tidy up, before it is left behind


class DaemonExecutor(ThreadPoolExecutor):
    """What a loop of user code runs plain calls in (``asyncio.to_thread``): daemons, some at most.

    Python waits at its end for the threads of its own executor, so that one call that blocks
    would keep a stopped process alive.
    """

    def __init__(self, threads_max: int = THREADS_MAX) -> None:
        super().__init__(max_workers=1)
        self._limit = threads_max
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._count = 0
        self._under_way = 0

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have a call made in one of the threads."""
        future: Future[Any] = Future()

        def work() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(call(*args, **kwargs))
                    except BaseException as error:  # noqa: BLE001 - who waits is told
                        future.set_exception(error)
            finally:
                with self._lock:
                    self._under_way -= 1

        with self._lock:
            self._under_way += 1
            if self._under_way > self._count and self._count < self._limit:
                self._count += 1
                name = f"task-call-{self._count}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._calls.put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  as Python's
        """Let idle threads end; those that are busy are left behind."""
        for _ in range(self._count):
            self._calls.put(None)

    def _serve(self) -> None:
        while (work := self._calls.get()) is not None:
            work()


class LeftBehindError(Exception):
    """The function did not stop when it was told to, and still runs."""


class Runner:
    """A loop in a thread and a pool of threads, both started when first needed."""

    def __init__(self, threads_max: int = THREADS_MAX) -> None:
        self._threads_max = threads_max
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None

    async def run_async(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop of user code; cancelling this cancels it there.

        Raises:
            LeftBehindError: This was cancelled, and the coroutine did not end within STOP_S.
        """
        loop = asyncio.get_running_loop()
        has_ended = asyncio.Event()
        contained = _contain(coroutine, lambda: loop.call_soon_threadsafe(has_ended.set))
        future = asyncio.run_coroutine_threadsafe(contained, self._user_loop())
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            try:
                await asyncio.wait_for(has_ended.wait(), STOP_S)
            except TimeoutError:
                raise LeftBehindError from None
            raise

    async def run_plain(self, call: Callable[[], Any]) -> Any:
        """Run a plain call in the pool; cancelling this leaves it behind, to end by itself."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(call)
            except Exception as error:  # noqa: BLE001 - the side that waits is told
                _tell(loop, future, None, error)
            except BaseException as error:  # noqa: BLE001 - it must not end a thread of the pool
                _tell(loop, future, None, _contained(error))
            else:
                _tell(loop, future, result, None)

        self._busy += 1
        try:
            if self._busy > self._threads and self._threads < self._threads_max:
                self._threads += 1
                name = f"task-{self._threads}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._calls.put(work)
            return await future
        finally:
            self._busy -= 1

    async def close(self) -> None:
        """Let idle threads end, and the loop with what it still has; wait STOP_S at most."""
        for _ in range(self._threads):
            self._calls.put(None)
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        cancelling = asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(cancelling), STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        if self._loop_thread is not None:
            # it closes the loop, whose sockets would be left to the garbage collector
            await asyncio.to_thread(self._loop_thread.join, STOP_S)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _user_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(DaemonExecutor())
            self._loop_thread = threading.Thread(
                target=_run_loop, args=(self._loop,), name="task-loop", daemon=True
            )
            self._loop_thread.start()
        return self._loop


async def _contain(coroutine: Coroutine[Any, Any, Any], on_end: Callable[[], object]) -> Any:
    """Keep what would end the whole loop from leaving the function that raised it."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise _contained(error) from error
    finally:
        with contextlib.suppress(RuntimeError):  # the loop that waited has gone
            on_end()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _contained(error: BaseException) -> RuntimeError:
    return RuntimeError(f"the function raised {type(error).__name__}: {error}")


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()


def _tell(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    result: Any,
    error: BaseException | None,
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            # a future refuses StopIteration, because it would end the waiting coroutine silently
            is_stop = isinstance(error, StopIteration)
            future.set_exception(_contained(error) if is_stop else error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the loop has gone, and with it whoever waited
