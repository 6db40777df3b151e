"""The engine as everybody above sees it: starts, reports, polls, operations, views.

A facade over committer, queues, timers and definitions. Whatever it returns is on disk.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from batuta.core.decide import decide
from batuta.core.identity import uuid7
from batuta.model.command import Control, LogTask, StartWorkflow, UpdateReference, UpdateTask
from batuta.model.error import ClosingError, InvalidError, NotFoundError
from batuta.runtime.clock import pause
from batuta.runtime.clock import seeds as system_seeds
from batuta.runtime.commit.batch import DecideFunction, Share, Submitted
from batuta.runtime.commit.cache import CACHE_BYTES_MAX, Cache
from batuta.runtime.commit.committer import Committer
from batuta.runtime.commit.lease import Leases
from batuta.runtime.commit.load import TROUBLE_WAIT_S
from batuta.runtime.definitions import Definitions
from batuta.runtime.event.read import read_messages
from batuta.runtime.feed.follow import Feed
from batuta.runtime.fetch import Fetcher, ScriptRunner, whole_run, whole_tasks
from batuta.runtime.keep.keeper import Keeper, Sweep
from batuta.runtime.keep.plan import Defaults
from batuta.runtime.lifecycle import Supervisor
from batuta.runtime.limit.gate import Gate
from batuta.runtime.operations import Operations
from batuta.runtime.quarantine.rearm import Quarantined
from batuta.runtime.queues import Waiter
from batuta.runtime.rehearsal.rehearse import Rehearsals
from batuta.runtime.search import Searches
from batuta.runtime.timers import Timers
from batuta.runtime.view import (
    PollData,
    Polled,
    RunView,
    StartRequest,
    Status,
    TaskView,
    Updated,
    queue_states,
    run_view,
    task_view,
    updated,
)
from batuta.runtime.waiting import Waiting
from batuta.store.base import Catalog, Journal, LogLine, Search, Store
from batuta.store.blob.media import MediaFiles
from batuta.store.blob.upload import Uploads
from batuta.store.failing import Quarantine
from batuta.store.keep import Keep

PRIORITY_MAX = 99
RECENT_MAX = 20  # runs that status shows
DRAIN_PAUSE_S = 0.005  # between two looks whether the committer is idle
DRAIN_S = 10.0  # how long stopping waits for what was accepted

_log = logging.getLogger(__name__)


class EngineStore(Store, Catalog, Journal, Search, Keep, Quarantine, Protocol):
    """Everything that the engine keeps, in one database."""


class Engine:
    """One node. ``start_loops`` makes it live; ``stop`` drains it.

    Args:
        now_ms: Store time, see ``runtime.clock``.
        seeds: Gives 16 random bytes; simulation gives its own.
        deciding: ``core.decide``; the tests of the tests plant bugs here.
    """

    def __init__(  # noqa: PLR0913  the composition of a node
        self,
        store: EngineStore,
        *,
        now_ms: Callable[[], int],
        scripts: ScriptRunner,
        seeds: Callable[[], bytes] | None = None,
        node: str = "n",
        version: str = "",
        cache_bytes_max: int = CACHE_BYTES_MAX,
        environment: Mapping[str, str] | None = None,
        is_strict: bool = False,
        trouble_wait_s: float = TROUBLE_WAIT_S,
        deciding: DecideFunction = decide,
    ) -> None:
        self.store = self._store = store
        self.now_ms = self._now_ms = now_ms
        self._seeds = seeds = seeds or system_seeds()
        self.node = self._node = node
        self._version = version
        self._started_at_ms = now_ms()
        self._id_count = 0
        self.definitions = Definitions(
            store, now_ms, is_strict=is_strict, is_shared=store.is_shared
        )
        self.searches = Searches(store, self.definitions)
        self._cache = Cache(cache_bytes_max)
        self._fetcher = Fetcher(store, self.definitions, scripts)
        self.committer = Committer(
            store,
            cache=self._cache,
            fetcher=self._fetcher,
            now_ms=now_ms,
            seeds=seeds,
            on_commit=self._on_commit,
            environment=dict(environment or {}),
            node=node,
            trouble_wait_s=trouble_wait_s,
            deciding=deciding,
        )
        self.timers = Timers(store, self.committer, now_ms)
        self.supervisor = Supervisor(now_ms)
        self.listeners: list[Callable[[Share], None]] = []
        self.rehearsals = Rehearsals(store, scripts, now_ms, environment, is_strict=is_strict)
        self._add_facades()
        self.uploads: Uploads | None = None
        self.media: MediaFiles | None = None
        self.keeper: Keeper | None = None
        self.is_ready = False
        self.is_draining = False

    def _add_facades(self) -> None:
        """Put together what stands beside the path of a step."""
        self.quarantine = Quarantined(self._store, self.timers)
        self.operations = Operations(self._store, self.committer)
        self.read_messages = partial(read_messages, self._store)
        self.waiting = Waiting(self.committer, self.listeners)
        self.feed = Feed(self._store, self.definitions, self.listeners)
        self.catalog: Catalog = self._store
        self.gate = Gate(self._store, self.definitions, self.committer)
        self._leases = Leases(self._store, self.committer, self._cache)
        self.extend_lease = self._leases.extend

    async def take_back_local_leases(self) -> int:
        """Make ready what in-process workers of a dead process held; before this node is live."""
        assert not self.is_ready, "leases are taken back before workers of this process have any"
        return await self._leases.take_back_local()

    def start_loops(self) -> None:
        """Begin to fire what is due. Everything else works on demand."""
        self.committer.know_targets(are_known=False)  # the first pass of the timers reads them
        self.supervisor.start("timers", self.timers.run)
        self.supervisor.start("limits", self.gate.run)
        self.supervisor.start("feed", self.feed.run)
        self.is_ready = True

    def keep(self, defaults: Defaults, sweeps: Sequence[Sweep] = ()) -> None:
        """Begin to remove what is old, as definitions and ``defaults`` say."""
        self.keeper = Keeper(
            self._store, defaults, now_ms=self._now_ms, forget=self._cache.forget, sweeps=sweeps
        )
        self.supervisor.start("keep", self.keeper.run)

    def drain(self) -> None:
        """Refuse new runs and answer waiting polls; reports are still taken."""
        self.is_draining = True
        self.timers.stop()
        self.committer.queues.release_all()
        self.waiting.release_all()
        self.feed.release_all()

    async def stop(self) -> None:
        """Drain, finish what was accepted, stop the loops."""
        self.drain()
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_S
        while not self.committer.is_idle and loop.time() < until:
            await pause(DRAIN_PAUSE_S)
        await self.supervisor.stop()
        self.is_ready = False

    # -- runs -----------------------------------------------------------------------------------

    async def start(self, request: StartRequest, *, actor: str = "") -> str:
        """Start a run and return its id; its first tasks are on disk.

        Raises:
            NotFoundError: The definition, or a sub-workflow it names, is not registered.
            InvalidError: The priority is out of range.
            BusyError: Too many commands are waiting; ClosingError: the server is draining.
        """
        if self.is_draining:
            raise ClosingError("the server is stopping; start the workflow on the next one")
        if not 0 <= request.priority <= PRIORITY_MAX:
            raise InvalidError(f"priority {request.priority} is not within 0 and {PRIORITY_MAX}")
        definitions = self.definitions
        name, version = request.name, request.version
        if request.definition is not None:
            pinned = await definitions.pin_inline(request.definition)
        else:
            found = request.pinned or definitions.pinned(name, version)
            pinned = found or await definitions.pin(name, version)
        command = StartWorkflow(
            workflow_id=request.workflow_id or self.new_id(),
            name=request.name,
            definition=pinned.definition,
            definition_version=pinned.version,
            input=request.input,
            correlation_id=request.correlation_id,
            priority=request.priority,
            task_to_domain=request.task_to_domain,
            event=request.event,
            dialect=request.dialect,
            owner=request.owner,
        )
        await self.committer.submit(command, actor=actor)
        return command.workflow_id

    async def control(self, command: Control, *, actor: str = "") -> None:
        """Pause, resume, terminate, retry, restart, skip a task of, or remove a run, and so on.

        Raises:
            NotFoundError: No such run; ConflictError: its status does not allow it.
        """
        await self.committer.submit(command, actor=actor)

    async def get(self, workflow_id: str, *, with_tasks: bool = True) -> RunView:
        """Return a run as committed.

        Raises:
            NotFoundError: No such run.
        """
        execution = await self.committer.committed(workflow_id)
        return await whole_run(self._store, run_view(execution, with_tasks=with_tasks))

    async def get_task(self, task_id: str) -> tuple[RunView, TaskView]:
        """Return a task and its run.

        Raises:
            NotFoundError: No such task.
        """
        workflow_id = await self._run_of(task_id)
        execution = await self.committer.committed(workflow_id)
        task = execution.task(task_id)
        if task is None:
            raise NotFoundError(f"no task {task_id!r}")
        run = await whole_run(self._store, run_view(execution, with_tasks=False))
        [view] = await whole_tasks(self._store, workflow_id, [task_view(execution, task)])
        return run, view

    # -- tasks ----------------------------------------------------------------------------------

    async def update(self, command: UpdateTask, *, actor: str = "") -> Updated:
        """Take a worker's report; a repeated or late one changes nothing.

        Raises:
            NotFoundError: No such run or task.
        """
        command = await self._addressed(command)
        return await self._reported(self.committer.enter(command, actor=actor))

    async def update_and_poll(self, command: UpdateTask, *, actor: str = "") -> Polled | None:
        """Take a report and poll the same queue for the same worker in the same commit."""
        command = await self._addressed(command)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Polled]] = loop.create_future()
        waiter = Waiter(answer, worker_id=command.worker_id, count=1, deadline=loop.time())
        if self.is_draining:
            waiter.resolve([])
        submitted = self.committer.enter(command, actor=actor, poll_worker=waiter)
        assert submitted.answer is not None, "a submitted command has an answer"
        try:
            await submitted.answer
            polled = await answer
        except asyncio.CancelledError:
            self._give_back_later(answer)
            raise
        self._note_leases(polled)
        return polled[0] if polled else None

    async def update_reference(self, command: UpdateReference, *, actor: str = "") -> Updated:
        """Report on the open task of a reference name.

        Raises:
            NotFoundError: No such run, or no open task of that name.
        """
        return await self._reported(self.committer.enter(command, actor=actor))

    async def poll(
        self,
        task_type: str,
        *,
        domain: str | None = None,
        worker_id: str | None = None,
        count: int = 1,
        wait_ms: int = 100,
    ) -> list[Polled]:
        """Return up to ``count`` tasks as soon as there is one, else ``[]`` after ``wait_ms``.

        Cancelling the call leaks nothing: a task already leased for it is given back.
        """
        if self.is_draining:
            return []
        queue = f"{domain}:{task_type}" if domain else task_type
        polled = await self.committer.queues.poll(
            queue,
            worker_id=worker_id,
            count=count,
            wait_ms=wait_ms,
            on_lost=self.committer.give_back,
        )
        self._note_leases(polled)
        return polled

    async def give_back(self, polled: Sequence[Polled]) -> None:
        """Return tasks whose answer could not be delivered."""
        self.committer.give_back(polled)

    async def add_log(self, task_id: str, line: str) -> None:
        """Append a line to a task's log.

        Raises:
            NotFoundError: No such task.
        """
        workflow_id = await self._run_of(task_id)
        await self.committer.submit(LogTask(workflow_id=workflow_id, task_id=task_id, line=line))

    async def logs(self, task_id: str) -> list[LogLine]:
        """Return a task's log, oldest first; empty for an unknown task."""
        return await self._store.logs(task_id)

    # -- the node -------------------------------------------------------------------------------

    def poll_data(self, queue: str | None = None) -> list[PollData]:
        """Return who polled which queue last."""
        return self.committer.queues.poll_data(queue)

    async def status(self) -> Status:
        """Return the node at a glance."""
        polls = self.committer.queues.last_polls()
        return Status(
            version=self._version,
            store=self._store.name,
            node=self._node,
            started_at_ms=self._started_at_ms,
            counts=await self._store.counts(),
            queues=queue_states(await self._store.queues(), polls),
            recent=await self._store.recent(limit=RECENT_MAX),
            loops=self.supervisor.report(),
            quarantined_count=await self.quarantine.count(),
            kept=self.keeper.kept if self.keeper else None,
        )

    # -- inside ---------------------------------------------------------------------------------

    def new_id(self) -> str:
        """Return an id that nothing has: a UUIDv7."""
        self._id_count += 1
        return uuid7(self._now_ms(), int.from_bytes(self._seeds(), "big"), self._id_count)

    def _on_commit(self, share: Share) -> None:
        self.timers.on_commit(share)
        for listener in self.listeners:
            try:
                listener(share)
            except Exception:  # noqa: BLE001  what is durable stays so, whatever a listener does
                _log.exception("a listener failed")

    def _note_leases(self, polled: Sequence[Polled]) -> None:
        for found in polled:
            self.timers.on_lease(found.lease)
            self.feed.on_lease(found.lease)

    def _give_back_later(self, answer: "asyncio.Future[list[Polled]]") -> None:
        """Return what a caller that has gone was given, or will be."""

        def returned(done: "asyncio.Future[list[Polled]]") -> None:
            if not done.cancelled() and done.exception() is None and done.result():
                self.committer.give_back(done.result())

        answer.add_done_callback(returned)

    async def _reported(self, submitted: Submitted) -> Updated:
        assert submitted.answer is not None, "a submitted command has an answer"
        await submitted.answer
        return updated(submitted.command.workflow_id, submitted.task_id, submitted.task)

    async def _addressed(self, command: UpdateTask) -> UpdateTask:
        if command.workflow_id:
            return command
        workflow_id = await self._run_of(command.task_id)
        return replace(command, workflow_id=workflow_id)

    async def _run_of(self, task_id: str) -> str:
        workflow_id = await self._store.find_task(task_id)
        if workflow_id is None:
            raise NotFoundError(f"no task {task_id!r}")
        return workflow_id
