"""Rehearse a workflow: run it with mocks for workers, people and other runs, to its end.

Theory of operation. Whatever a worker, a person or a sub-workflow would answer comes from the
mocks; everything else is decided as in a real run, retries, time-outs and waits included, in
a time of its own. Nothing leaves the process: no task is in a queue that a worker could poll, no
URL is called, no failure workflow and no START_WORKFLOW's run begins. Scripts do run, in the
sandbox. Source: POST /api/workflow/test; Conductor's own starts a real run in a random domain.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from batuta.core.execution import Execution
from batuta.core.identity import uuid7
from batuta.model.command import ChildEnded, StartWorkflow, UpdateTask
from batuta.model.error import BusyError, InvalidError
from batuta.model.execution import Task
from batuta.runtime.clock import pause
from batuta.runtime.clock import seeds as system_seeds
from batuta.runtime.definitions import Definitions
from batuta.runtime.fetch import Fetcher, ScriptRunner
from batuta.runtime.rehearsal.catalog import BorrowedCatalog, definitions_in
from batuta.runtime.rehearsal.mock import Mocks, Part
from batuta.runtime.rehearsal.stage import Poll, Stage
from batuta.runtime.view import RunView, StartRequest, run_view
from batuta.store.base import Catalog, Store

REHEARSALS_MAX = 4  # at once on a node; each may take as much of it as a hundred workers
REHEARSAL_S_MAX = 10.0  # of real time; scripts may be slow


class _Kept(Store, Catalog, Protocol):
    """What a rehearsal reads from."""


class Rehearsals:
    """Rehearses for the engine's callers, a few at once.

    Args:
        is_strict: As ``Definitions``.
        environment: The allow-listed names that expressions may read.
    """

    def __init__(
        self,
        store: _Kept,
        scripts: ScriptRunner,
        now_ms: Callable[[], int],
        environment: Mapping[str, str] | None = None,
        *,
        is_strict: bool = False,
    ) -> None:
        self._store = store
        self._scripts = scripts
        self._now_ms = now_ms
        self._environment = dict(environment or {})
        self._is_strict = is_strict
        self._seeds = system_seeds()
        self._count = 0

    async def rehearse(self, request: StartRequest, mocks: Mocks) -> RunView:
        """Run a workflow with mocks, and return the run as it stands when nothing is left to do.

        Raises:
            NotFoundError: The definition, or a sub-workflow it names, is not registered.
            InvalidError: A task was reached that has no mock, all of them named; or the run
                takes too many steps, bytes or seconds.
            BusyError: REHEARSALS_MAX are at it.
        """
        if self._count >= REHEARSALS_MAX:
            raise BusyError(f"{self._count} workflows are being tested; try again in a moment")
        self._count += 1
        try:
            async with asyncio.timeout(REHEARSAL_S_MAX):
                return await self._rehearse(request, mocks)
        except TimeoutError as error:
            raise InvalidError(
                f"the test takes more than {REHEARSAL_S_MAX:.0f} seconds; does it ever end?"
            ) from error
        finally:
            self._count -= 1

    async def _rehearse(self, request: StartRequest, mocks: Mocks) -> RunView:
        catalog = BorrowedCatalog(self._store, definitions_in(mocks))
        definitions = Definitions(catalog, self._now_ms, is_strict=self._is_strict)
        if request.definition is not None:
            pinned = await definitions.pin_inline(request.definition)
        else:
            pinned = await definitions.pin(request.name, request.version)
        now_ms = self._now_ms()
        stage = Stage(
            Fetcher(self._store, definitions, self._scripts),
            now_ms=now_ms,
            seeds=self._seeds,
            environment=self._environment,
        )
        command = StartWorkflow(
            workflow_id=uuid7(now_ms, int.from_bytes(self._seeds(), "big"), 1),
            name=request.name,
            definition=pinned.definition,
            definition_version=pinned.version,
            input=request.input,
            correlation_id=request.correlation_id,
            priority=request.priority,
            task_to_domain=request.task_to_domain,
        )
        execution = await _Director(stage, Part(mocks)).play(command)
        return run_view(execution, with_tasks=True)


class _Director:
    """Gives each task that somebody has to do its mock, and lets time pass in between."""

    def __init__(self, stage: Stage, part: Part) -> None:
        self._stage = stage
        self._part = part
        self._parts: dict[str, Part] = {}
        self._awaited: set[str] = set()  # open tasks whose next result is on its way

    async def play(self, command: StartWorkflow) -> Execution:
        """Run to the end, or to where nothing is due any more."""
        self._parts[command.workflow_id] = self._part
        execution = await self._stage.start(command)
        while True:
            await self._deliver()
            self._cue()
            if execution.workflow.status.is_terminal:
                return execution
            self._part.check()
            done = await self._stage.step()
            if done is None:
                return execution
            if isinstance(done, UpdateTask):
                self._awaited.discard(done.task_id)
            await pause(0)  # whoever else uses this loop has their turn

    async def _deliver(self) -> None:
        """Give runs what others sent them; a sub-workflow that has a mock is not run."""
        sends = self._stage.sends
        while sends:
            command = sends.popleft()
            if not isinstance(command, StartWorkflow):
                await self._stage.submit(command)
            elif command.parent_id is not None and command.parent_task_id is not None:
                await self._begin_child(command, command.parent_id, command.parent_task_id)
            await pause(0)

    async def _begin_child(self, command: StartWorkflow, parent_id: str, task_id: str) -> None:
        part = self._parts[parent_id]
        task = self._stage.runs[parent_id].execution.task(task_id)
        assert task is not None, "a parent has the task that starts a child"
        if part.has(task):
            self._cue_child(parent_id, task)
            return
        self._parts[command.workflow_id] = part.child(task)
        await self._stage.start(command)

    def _cue_child(self, parent_id: str, task: Task) -> None:
        """Have the task of a sub-workflow end as its mock says, without a child."""
        mock = self._parts[parent_id].take(task)
        while mock is not None and not mock.status.is_terminal:
            mock = self._parts[parent_id].take(task)  # a child does not report before its end
        if mock is None or task.child_id is None:
            return
        ended = ChildEnded(
            workflow_id=parent_id,
            task_id=task.task_id,
            child_id=task.child_id,
            status=mock.status,
            output=mock.output,
            parent_epoch=task.child_epoch,
        )
        self._stage.at(self._stage.now_ms + mock.queue_wait_ms + mock.execution_ms, ended)

    def _cue(self) -> None:
        """Have the open tasks polled and reported on as their mocks say."""
        opened = self._stage.opened
        while opened:
            workflow_id, task_id = opened.popleft()
            run = self._stage.runs[workflow_id]
            task = run.execution.task(task_id)
            has_ended = run.execution.workflow.status.is_terminal
            if has_ended or task is None or task.status.is_terminal or task_id in self._awaited:
                continue
            part = self._parts[workflow_id]
            if task.due_at_ms and not part.has(task):
                continue  # its time comes, nobody need do anything
            self._cue_task(workflow_id, task, part, is_offered=task_id in run.offered)

    def _cue_task(self, workflow_id: str, task: Task, part: Part, *, is_offered: bool) -> None:
        mock = part.take(task)
        if mock is None:
            return
        at_ms = self._stage.now_ms + mock.queue_wait_ms
        self._awaited.add(task.task_id)
        report = UpdateTask(
            workflow_id=workflow_id,
            task_id=task.task_id,
            status=mock.status,
            output=mock.output,
        )
        if is_offered:
            self._stage.at(at_ms, Poll(workflow_id, task.task_id))
        self._stage.at(at_ms + mock.execution_ms, report)
