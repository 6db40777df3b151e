"""Does the task of a step: waits its time, asks the conditions, calls the method."""

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from batuta.dialects.base import worker_of
from batuta.dialects.checkpointed.author.base import BaseWorkflow, InputFile
from batuta.dialects.checkpointed.author.error import HardError, RetryableError
from batuta.dialects.checkpointed.folder.load import Package
from batuta.dialects.checkpointed.folder.shelf import Shelf
from batuta.dialects.checkpointed.run.condition import may_resume
from batuta.dialects.checkpointed.run.desk import StepDesk
from batuta.dialects.checkpointed.run.lower import STEP, timeout_s
from batuta.dialects.checkpointed.run.standing import (
    HURRIED,
    WAITING,
    decoded,
    failed_before,
    is_asked_for,
    is_hurried,
    resume_at_ms,
)
from batuta.dialects.checkpointed.run.wait import (
    ERROR_CHARACTERS_MAX,
    TIMEOUT,
    clean,
    text_of,
    told,
)
from batuta.dialects.checkpointed.thread import (
    StepStoppedError,
    StepTimeoutError,
    in_own_thread,
)
from batuta.model.error import NotFoundError
from batuta.model.execution import TaskStatus
from batuta.runtime.clock import wall_ms
from batuta.runtime.commit.batch import Share
from batuta.runtime.engine import Engine
from batuta.runtime.view import RunView, TaskView
from batuta.store.blob.media import MediaFiles
from batuta.workers.function import TaskContext, TaskFunction
from batuta.workers.media.ai import Services
from batuta.workers.outcome import TRACEBACK_CHARACTERS_MAX, Outcome

CONCURRENCY = 64  # steps of one server at once; each has a thread
CODE_WAIT_S = 10.0  # until a folder that is broken or gone is looked for again
_NOT_JSON = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Crew:
    """The worker of all steps. Made on the server's loop; its tasks run on that of user code.

    Args:
        interval_s: Between two looks whether a job whose wait is over may go on.
    """

    def __init__(
        self,
        engine: Engine,
        shelf: Shelf,
        media: MediaFiles | None,
        *,
        environment: Mapping[str, str],
        interval_s: float,
        services: Services | None = None,
    ) -> None:
        self._engine = engine
        self._shelf = shelf
        self._media = media
        self._environment = environment
        self._interval_s = interval_s
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._stops: dict[str, Callable[[], object]] = {}
        engine.listeners.append(self._note)

    def function(self) -> TaskFunction:
        """Return what the server's workers do steps with."""
        return worker_of(STEP, self._do, concurrency=CONCURRENCY)

    async def _do(self, task: TaskContext) -> Outcome:
        run: RunView | None = None
        if task.retry_count or task.job.poll_count > 1:
            run = await self._on_server(self._engine.get(task.workflow_id))
            wait_s = _wait_s(run, task)
            if wait_s:
                return _back(task, run, wait_s)
        package = await self._on_server(self._shelf.package(task.input["workflowId"]))
        if package is None:
            why = f"workflow {task.input['workflowId']!r} cannot be loaded now"
            return _back(task, run, CODE_WAIT_S, why)
        stop = asyncio.Event()
        here = asyncio.get_running_loop()
        self._stops[task.workflow_id] = lambda: here.call_soon_threadsafe(stop.set)
        try:
            if run is not None and not await self._may_go_on(run, task, package, stop):
                return _back(task, run, self._interval_s)
            return await self._run(task, package, stop)
        finally:
            self._stops.pop(task.workflow_id, None)

    async def _run(self, task: TaskContext, package: Package, stop: asyncio.Event) -> Outcome:
        step = task.input["step"]
        limit_s = timeout_s(step)
        started_at_ms = wall_ms()
        desk = StepDesk(self._engine, self._media, task, self._loop)
        try:
            call = self._call(task, package, desk)
            found = await in_own_thread(
                call, limit_s=limit_s, stop=stop, name=f"step {step['name']} of {task.workflow_id}"
            )
            return _completed(step["name"], found, started_at_ms)
        except HardError as error:
            return _failed_for_good(text_of(error) or "the step gave no reason", started_at_ms)
        except StepTimeoutError:
            why = f"step {step['name']} took longer than {limit_s:g} s"
            return _failed(RetryableError(why, TIMEOUT), started_at_ms)
        except (RetryableError, StepStoppedError) as error:
            return _failed(error, started_at_ms)
        except Exception as error:  # noqa: BLE001  of a method that somebody else wrote
            told_of = step["name"], task.workflow_id, text_of(error)
            _log.info("step %s of %s failed: %s", *told_of)
            text = clean("".join(traceback.format_exception(error)))
            logs = (text[-TRACEBACK_CHARACTERS_MAX:],)
            return replace(_failed(error, started_at_ms), logs=logs)
        finally:
            self._loop.call_soon_threadsafe(desk.close)

    def _call(self, task: TaskContext, package: Package, desk: StepDesk) -> Callable[[], Any]:
        """Return the call of a step's method.

        Raises:
            HardError: There is no such method.
            RetryableError: The step before left nothing.
        """
        step, place, given = task.input["step"], task.input["stepIndex"], task.input["input"]
        name = f"step_{step['name']}"
        if not callable(getattr(package.made, name, None)):
            raise HardError(f"Step method {name} not implemented")
        if place and given is None:
            raise RetryableError(f"Output of step {place - 1} is missing")
        if place == 0:
            given = self._input(given)
        workflow = self._workflow(task, package, desk)

        def call() -> Any:
            return getattr(workflow(), name)(given, step)

        return call

    def _input(self, given: Any) -> InputFile:
        found = InputFile(given if isinstance(given, dict) else {"input": given})
        url = found.get("url")
        if isinstance(url, str) and self._media is not None:
            path = self._media.path(url.rpartition("/")[2])
            found["path"] = None if path is None else str(path)
        return found

    def _workflow(
        self, task: TaskContext, package: Package, desk: StepDesk
    ) -> Callable[[], BaseWorkflow]:
        """Return what makes a step's object; in the step's thread, since it is user code."""

        def make() -> BaseWorkflow:
            made = package.made()
            made.config = package.config
            made.job_id = task.workflow_id
            made.user_id = str(task.input.get("userId") or "")
            made.options = task.input.get("options") or {}
            made.retry_count = task.retry_count
            made.environment = self._environment
            made.services = self._services
            made._desk = desk  # noqa: SLF001  ours, and not for authors
            return made

        return make

    async def _may_go_on(
        self, run: RunView, task: TaskContext, package: Package, stop: asyncio.Event
    ) -> bool:
        """Ask the conditions, unless somebody has asked for the retry."""
        view = _view_of(run, task)
        before = failed_before(run, view)
        if before is None or is_asked_for(view, before) or is_hurried(view):
            return True
        error_info = {
            **decoded(before.output),
            "job_id": task.workflow_id,
            "workflow_id": package.workflow_id,
            "step_name": task.input["step"]["name"],
        }
        desk = StepDesk(self._engine, self._media, task, self._loop)
        return await may_resume(
            error_info,
            make=self._workflow(task, package, desk),
            checks=[package.checks, self._shelf.checks],
            environment=self._environment,
            stop=stop,
        )

    async def _on_server(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await what belongs to the server's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def _note(self, share: Share) -> None:
        """Stop the step of a job that was cancelled."""
        workflow = share.execution.workflow
        if workflow.status.is_terminal and workflow.workflow_id in self._stops:
            self._stops[workflow.workflow_id]()


def _view_of(run: RunView, task: TaskContext) -> TaskView:
    found = next((one for one in run.tasks if one.task.task_id == task.task_id), None)
    if found is None:
        raise NotFoundError(f"task {task.task_id!r} is no longer its run's")
    return found


def _wait_s(run: RunView, task: TaskContext) -> float:
    """Return how long an attempt still has to wait for its time."""
    view = _view_of(run, task)
    before = failed_before(run, view)
    if before is None or view.lease is None or is_asked_for(view, before) or is_hurried(view):
        return 0
    return max(resume_at_ms(before) - view.lease.polled_at_ms, 0) / 1_000


def _back(task: TaskContext, run: RunView | None, wait_s: float, why: str = "") -> Outcome:
    """Give an attempt back until later; it stays the same attempt."""
    now_ms, wait_ms = wall_ms(), max(int(wait_s * 1_000), 1)
    output: dict[str, Any] = {"status": WAITING}
    if run is not None:
        view = _view_of(run, task)
        now_ms = view.lease.polled_at_ms if view.lease is not None else now_ms
        if is_hurried(view):
            output[HURRIED] = True
        before = failed_before(run, view)
        if before is not None and not why:
            why = f"waits after: {decoded(before.output).get('error') or before.task.reason}"
    output["until_ms"] = now_ms + wait_ms
    return Outcome(
        status=TaskStatus.IN_PROGRESS,
        output=msgspec.json.encode(output),
        reason=why or None,
        callback_after_ms=wait_ms,
    )


def _completed(name: str, found: Any, started_at_ms: int) -> Outcome:
    output = {"status": "completed", "started_at_ms": started_at_ms, "output": found}
    try:
        encoded = msgspec.json.encode(output)
    except _NOT_JSON as error:
        why = f"Step {name} returned what JSON cannot hold: {error}"
        return _failed_for_good(why, started_at_ms)
    return Outcome(status=TaskStatus.COMPLETED, output=encoded)


def _failed(error: Exception, started_at_ms: int) -> Outcome:
    found = told(error)
    output = {"status": "failed_retryable", "started_at_ms": started_at_ms, **found}
    return Outcome(
        status=TaskStatus.FAILED, output=msgspec.json.encode(output), reason=found["error"]
    )


def _failed_for_good(why: str, started_at_ms: int) -> Outcome:
    why = clean(why)[:ERROR_CHARACTERS_MAX]
    output = {"status": "failed_permanent", "started_at_ms": started_at_ms, "error": why}
    return Outcome(
        status=TaskStatus.FAILED_WITH_TERMINAL_ERROR,
        output=msgspec.json.encode(output),
        reason=why,
    )
