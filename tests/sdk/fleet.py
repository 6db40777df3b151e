"""The SDK's own worker loops, unmodified, on threads of the test process."""

import asyncio
import faulthandler
import gc
import inspect
import threading
from types import TracebackType
from typing import Any, Self

from conductor.client.automator.async_task_runner import AsyncTaskRunner
from conductor.client.automator.task_handler import get_registered_workers
from conductor.client.automator.task_runner import TaskRunner
from conductor.client.configuration.configuration import Configuration
from conductor.client.worker.worker import Worker

STOP_LIMIT_S = 20.0


class Fleet:
    """A runner for each function that was decorated with `worker_task`, as TaskHandler has them.

    TaskHandler gives each a process; here it is a thread, so that a test sees what its functions
    did. The runners and their loops are the SDK's.
    """

    def __init__(self, api_url: str, listeners: list[Any] | None = None) -> None:
        self._configuration = Configuration(server_api_url=api_url)
        self._listeners = listeners or []
        self._runners: list[TaskRunner | AsyncTaskRunner] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        workers = get_registered_workers()
        assert workers, "no function was decorated with worker_task"
        for worker in workers:
            self._start(worker)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for runner in self._runners:
            if isinstance(runner, TaskRunner):
                runner.stop()
            else:
                asyncio.run(runner.stop())  # only sets a flag
        for thread in self._threads:
            thread.join(STOP_LIMIT_S)
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        if alive:
            faulthandler.dump_traceback()
        assert not alive, f"these runners did not stop: {alive}"
        gc.collect()  # what the SDK left open is found now, and not in somebody else's test

    def _start(self, worker: Worker) -> None:
        name = f"fleet-{worker.get_task_definition_name()}"
        if inspect.iscoroutinefunction(worker.execute_function):
            awaited = AsyncTaskRunner(worker, self._configuration, None, self._listeners)
            self._runners.append(awaited)
            thread = threading.Thread(target=lambda: asyncio.run(awaited.run()), name=name)
        else:
            runner = TaskRunner(worker, self._configuration, None, self._listeners)
            self._runners.append(runner)
            thread = threading.Thread(target=runner.run, name=name)
        self._threads.append(thread)
        thread.start()
