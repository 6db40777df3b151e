"""Bringing into memory what deciding lacks: runs, payloads, definitions, scripts' results."""

import asyncio
from collections import deque
from collections.abc import Callable

from batuta.core.execution import Execution
from batuta.model.change import Needs
from batuta.model.command import StartWorkflow
from batuta.model.error import NotFoundError, StoreError
from batuta.runtime.clock import pause
from batuta.runtime.commit.batch import Submitted, new_execution
from batuta.runtime.commit.cache import Cache, absorb, build
from batuta.runtime.commit.gather import Holds
from batuta.runtime.fetch import Fetcher
from batuta.store.base import Loaded, Store

TROUBLE_WAIT_S = 30.0  # how long a store in trouble is waited for before callers are told so
TROUBLE_PAUSE_S = 0.05  # between two tries
# Of a run in memory that others have moved on: what was retired since is then still stored, since
# retention leaves it for a day. An older one is read whole.
BEHIND_MS_MAX = 3_600_000


class Loader:
    """Loads beside the pump; the runs are held meanwhile, and released by ``release``."""

    def __init__(
        self,
        store: Store,
        *,
        cache: Cache,
        fetcher: Fetcher,
        holds: Holds,
        release: Callable[[str], None],
        trouble_wait_s: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._cache = cache
        self._fetcher = fetcher
        self._holds = holds
        self._release = release
        self._trouble_wait_s = trouble_wait_s
        self._now_ms = now_ms

    async def load(self, workflow_ids: list[str]) -> None:
        """Bring runs into memory and let their commands come back; wait for a store in trouble."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._trouble_wait_s
        while True:
            try:
                await self._read(workflow_ids)
                break
            except StoreError as error:
                if loop.time() >= until:
                    self._refuse_all(workflow_ids, error)
                    break
                await pause(TROUBLE_PAUSE_S)
            except Exception as error:  # noqa: BLE001  whoever waits must hear of it
                if len(workflow_ids) > 1:  # and none but those whose run cannot be read
                    await asyncio.gather(*(self.load([one]) for one in workflow_ids))
                    return
                self._refuse_all(workflow_ids, error)
                break
        for workflow_id in workflow_ids:
            self._release(workflow_id)

    async def settled(self, wanted: list[tuple[str, int, str]]) -> list[bool]:
        """Ask until the store answers, see ``Store.settled``; all False when not in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._trouble_wait_s
        while True:
            try:
                return await self._store.settled(wanted)
            except Exception:  # noqa: BLE001  the store is still down
                if loop.time() >= until:
                    return [False] * len(wanted)
                await pause(TROUBLE_PAUSE_S)

    def _refuse_all(self, workflow_ids: list[str], error: Exception) -> None:
        for workflow_id in workflow_ids:
            self._refuse_waiting(workflow_id, error)

    async def _read(self, workflow_ids: list[str]) -> None:
        definitions = self._fetcher.definitions
        old_ms = self._now_ms() - BEHIND_MS_MAX
        behind = {
            one: run
            for one in workflow_ids
            if (run := self._cache.take_behind(one)) and run.workflow.updated_at_ms > old_ms
        }
        known = [
            (one, behind[one].workflow.version if one in behind else 0) for one in workflow_ids
        ]
        loaded = await self._store.load(known)
        for workflow_id in workflow_ids:
            found = loaded.get(workflow_id)
            if found is not None:
                execution = await self._brought_up(behind.get(workflow_id), found)
                await self._answer_what_is_stored(workflow_id, execution)
                self._cache.put(execution)
                continue
            await self._answer_what_is_stored(workflow_id, None)
            start = _first_start(self._holds[workflow_id].waiting)
            if start is None:
                missing = NotFoundError(f"no workflow {workflow_id!r}")
                self._refuse_waiting(workflow_id, missing)
            else:
                graph = await definitions.graph(start.definition)
                self._cache.put(new_execution(start, graph))

    async def _answer_what_is_stored(self, workflow_id: str, execution: Execution | None) -> None:
        """Answer the waiting commands that an earlier try, which came late, has stored.

        Decided again they would be done twice. A version up to the loaded one is what it is for
        good; a later one may yet be taken by an earlier try, which then refuses this one.

        Args:
            execution: The run as loaded; None when it is not there: not yet, or removed since.
        """
        waiting = self._holds[workflow_id].waiting
        asking = [one for one in waiting if one.versions_unknown]
        stored = await self._stored(workflow_id, asking, execution)
        for submitted in asking:
            if execution is not None:
                version = execution.workflow.version
                later = tuple(known for known in submitted.versions_unknown if known > version)
                submitted.versions_unknown = later
            ran = execution or submitted.tried
            if submitted in stored and ran is not None:
                waiting.remove(submitted)
                submitted.resolve_late(ran)
            elif submitted.is_worn_out:
                waiting.remove(submitted)
                submitted.refuse_at_last()

    async def _stored(
        self, workflow_id: str, asking: list[Submitted], execution: Execution | None
    ) -> set[Submitted]:
        """Ask the journal, which outlives the run, which commands are in it."""
        tries = [
            (one, known)
            for one in asking
            for known in one.versions_unknown
            if execution is None or known <= execution.workflow.version
        ]
        if not tries:
            return set()
        wanted = [(workflow_id, known, one.request_id) for one, known in tries]
        are_stored = await self._store.settled(wanted)
        return {one for (one, _), is_stored in zip(tries, are_stored, strict=True) if is_stored}

    async def _brought_up(self, behind: Execution | None, found: Loaded) -> Execution:
        """Return the run as stored: what is newer laid over memory's, or all of it."""
        if behind is not None and behind.workflow.definition == found.workflow.definition:
            return absorb(behind, found)
        if behind is not None:  # restarted with another definition: its tasks are all to be read
            workflow_id = found.workflow.workflow_id
            found = (await self._store.load([(workflow_id, 0)])).get(workflow_id, found)
        return build(found, await self._fetcher.definitions.graph(found.workflow.definition))

    def _refuse_waiting(self, workflow_id: str, error: Exception) -> None:
        waiting = self._holds[workflow_id].waiting
        while waiting:
            waiting.popleft().refuse(error)

    async def committed(self, workflow_id: str, *, is_from_store: bool) -> Execution:
        """Return a run as the disk has it: memory's when nothing can be ahead of it.

        Args:
            is_from_store: Do not look into memory.

        Raises:
            NotFoundError: No such run.
        """
        execution = self._cache.peek(workflow_id)
        is_current = not (is_from_store or self._store.is_shared or workflow_id in self._holds)
        if execution is not None and execution.workflow.version > 0 and is_current:
            return execution
        loaded = (await self._store.load([(workflow_id, 0)])).get(workflow_id)
        if loaded is None:
            raise NotFoundError(f"no workflow {workflow_id!r}")
        return build(loaded, await self._fetcher.definitions.graph(loaded.workflow.definition))

    async def fetch(self, execution: Execution, submitted: Submitted, needs: Needs) -> None:
        """Fetch what a command lacks and have it decided again, before those behind it."""
        workflow_id = execution.workflow.workflow_id
        hold = self._holds[workflow_id]
        try:
            await self._fetcher.fetch(needs, submitted.answers, execution)
        except Exception as error:  # noqa: BLE001  the caller must hear of it
            submitted.refuse(error)
        else:
            hold.first.append(submitted)
        self._release(workflow_id)


def _first_start(waiting: deque[Submitted]) -> StartWorkflow | None:
    return next((s.command for s in waiting if isinstance(s.command, StartWorkflow)), None)
