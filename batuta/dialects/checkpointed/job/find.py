"""Whose jobs are whose: every look at one goes through its owner; others' are not there.

Lists ask for an owner alone, which has an index: only jobs have owners, and a condition on the
front door besides would let a database choose the index of that, in which everybody's are.
"""

import re
from typing import Any

from batuta.api.request import HttpError
from batuta.dialects.checkpointed.folder.config import ID
from batuta.dialects.checkpointed.job.view import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STATUSES,
    current_step,
    job,
    status_of,
    steps_of,
)
from batuta.dialects.checkpointed.run.desk import progress_of
from batuta.model.error import NotFoundError
from batuta.runtime.engine import Engine
from batuta.runtime.search import SearchRequest
from batuta.runtime.view import RunView, TaskView

NAME = "checkpointed"
PREFIX_SPAN_MS = 4_000_000  # between the making of an id and the start of its run: an upload
MISSING = "Job not found"
OPEN_MAX = 1_000  # jobs of one owner that are looked through for their status
LISTED_BYTES_MAX = 20_000  # of an output that a list looks into; one job alone shows any
SIMILAR_MAX = 2_000  # jobs of one owner that may have been started in the span of a prefix

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The first eight characters of an id are its time to 65 s; fewer would say too little.
_PREFIX = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")
_OPEN = "status IN (RUNNING, PAUSED)"
_QUERIES = {
    COMPLETED: "status = COMPLETED",
    FAILED: "status IN (FAILED, TIMED_OUT)",
    CANCELLED: "status = TERMINATED",
}


class Jobs:
    """The jobs of one owner at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def find(self, owner: str, given: str, missing: str = MISSING) -> RunView:
        """Return a job by its id, or by the beginning of it where that is the only one.

        Raises:
            NotFoundError: There is none, or it is somebody else's.
            HttpError: 409, several begin so.
        """
        wanted = given.lower()
        if not _UUID.fullmatch(wanted):
            wanted = await self._by_prefix(owner, wanted, missing)
        try:
            run = await self._engine.get(wanted)
        except NotFoundError:
            raise NotFoundError(missing) from None
        if run.workflow.owner != owner or run.workflow.dialect != NAME:
            raise NotFoundError(missing)
        return run

    async def listed(
        self, owner: str, *, status: str | None, workflow_id: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Return an owner's jobs, the newest first."""
        query = _QUERIES.get(status or "", _OPEN if status else None)
        if workflow_id is not None:
            if not ID.fullmatch(workflow_id):
                return []
            of_one = f"workflowType = '{workflow_id}'"
            query = f"{query} AND {of_one}" if query else of_one
        is_derived = status is not None and status not in _QUERIES
        found = await self._runs(owner, query, OPEN_MAX if is_derived else limit)
        wanted = [run for run in found if not is_derived or status_of(run) == status]
        return [await self.shown(run) for run in wanted[:limit]]

    async def under_way(self, owner: str) -> list[dict[str, Any]]:
        """Return an owner's jobs that have not ended, the newest first."""
        return [await self.shown(run) for run in await self._runs(owner, _OPEN, OPEN_MAX)]

    async def counts(self, owner: str) -> dict[str, int]:
        """Return how many jobs of an owner have which status."""
        found = dict.fromkeys(STATUSES, 0)
        for run in await self._runs(owner, _OPEN, OPEN_MAX):
            found[status_of(run)] += 1
        for status, query in _QUERIES.items():
            page = await self._engine.searches.runs(
                SearchRequest(query=query, owner=owner, size=1, payload_bytes_max=0)
            )
            found[status] = page.total
        return {"total": sum(found.values()), **found}

    async def shown(self, run: RunView) -> dict[str, Any]:
        """Return a job as it is shown, what its step has reported included."""
        percent = 0.0
        if not run.workflow.status.is_terminal:
            place = current_step(run)
            for step in steps_of(run)[place : place + 1]:
                for line in await self.lines(step.attempts):
                    told = progress_of(line)
                    percent = max(percent, told[0]) if told else percent
        return job(run, percent)

    async def lines(self, attempts: tuple[TaskView, ...]) -> list[str]:
        """Return what attempts have logged, oldest first."""
        found = []
        for view in attempts:
            if view.lease is not None or view.task.poll_count:
                found += [one.line for one in await self._engine.logs(view.task.task_id)]
        return found

    async def _runs(self, owner: str, query: str | None, size: int) -> list[RunView]:
        request = SearchRequest(
            query=query,
            owner=owner,
            size=size,
            with_tasks=True,
            payload_bytes_max=LISTED_BYTES_MAX,
        )
        page = await self._engine.searches.runs(request)
        return page.items

    async def _by_prefix(self, owner: str, prefix: str, missing: str) -> str:
        """Return the only id of an owner's jobs that begins so; ids begin with their time."""
        if not _PREFIX.fullmatch(prefix):
            raise NotFoundError(missing)
        first_ms = int(prefix[:8], 16) << 16
        last_ms = first_ms + 0xFFFF + PREFIX_SPAN_MS
        query = f"startTime >= {first_ms} AND startTime <= {last_ms}"
        page = await self._engine.searches.runs(
            SearchRequest(
                query=query,
                owner=owner,
                sort="startTime:ASC",
                size=SIMILAR_MAX,
                payload_bytes_max=0,
            )
        )
        ids = [run.workflow.workflow_id for run in page.items]
        found = [one for one in ids if one.startswith(prefix)]
        if len(found) > 1:
            raise HttpError(409, "AMBIGUOUS", f"{len(found)} of your jobs begin with {prefix!r}")
        if not found:
            raise NotFoundError(missing)
        return found[0]
