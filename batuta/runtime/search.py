"""Search as everybody above sees it: queries in, runs and tasks with their payloads out.

What is found is what is on disk; a run that a command is changing this instant is shown as it
was before or as it is after.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from batuta.model.error import InvalidError, UnreadableError
from batuta.model.execution import Workflow, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.commit.cache import build
from batuta.runtime.definitions import Definitions
from batuta.runtime.fetch import whole_run
from batuta.runtime.view import RunView, TaskView, run_view
from batuta.store.base import Loaded, Search, Store
from batuta.store.query.parse import check_page, parse_query, parse_sort
from batuta.store.query.tree import (
    DEFAULT_SORT,
    FIELDS,
    Comparison,
    Every,
    FoundTask,
    Page,
    Query,
    Subject,
)

LISTED_MAX = 20_000  # ids that one answer lists; a client that wants more turns pages
CORRELATED_MAX = 1_000  # runs that one answer shows whole
CORRELATIONS_MAX = 1_000  # correlation ids of one request
ANSWER_BYTES_MAX = 64_000_000  # of the payloads of one answer; it is put together in memory
SLICE = 100  # runs or tasks read at once, so that other readers get their turn

T = TypeVar("T")


class SearchStore(Store, Search, Protocol):
    """What search needs of a store."""


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to search; the texts are as the client sent them.

    ``payload_bytes_max``: a larger payload comes without its bytes. ``with_tasks``: runs come
    with their tasks. ``owner``: whose runs; "" is everybody's.
    """

    query: str | None = None
    free_text: str | None = None
    sort: str | None = None
    start: int = 0
    size: int = 100
    is_top_level_only: bool = False
    payload_bytes_max: int = ANSWER_BYTES_MAX
    with_tasks: bool = False
    owner: str = ""


class Searches:
    """Finds runs and tasks of one store."""

    def __init__(self, store: SearchStore, definitions: Definitions) -> None:
        self._store = store
        self._definitions = definitions

    async def runs(self, request: SearchRequest, *, by_tasks: bool = False) -> Page[RunView]:
        """Return a page of runs; ``by_tasks``: the query speaks of their tasks.

        Raises:
            InvalidError: The query, the order or the page is wrong, or too much was asked for.
        """
        check_page(request.start, request.size)
        subject = Subject.TASK if by_tasks else Subject.WORKFLOW
        query = parse_query(request.query, subject, free_text=request.free_text)
        if request.is_top_level_only:
            query = _and(query, _is("parentWorkflowId", ""))
        if request.owner:
            query = _and(query, _is("owner", request.owner))
        page = await self._store.search(
            query,
            sort=parse_sort(request.sort, Subject.WORKFLOW),
            start=request.start,
            size=request.size,
        )
        views = await self._views(
            page.items, request.payload_bytes_max, with_tasks=request.with_tasks
        )
        # Removed since, or damaged: as in Conductor, they count no more.
        missing = len(page.items) - len(views)
        return Page(items=views, total=page.total - missing, is_exact=page.is_exact)

    async def tasks(self, request: SearchRequest) -> Page[tuple[RunView, TaskView]]:
        """Return a page of tasks, each with its run, which has no payloads and no tasks.

        Raises:
            InvalidError: As ``runs``.
        """
        check_page(request.start, request.size)
        page = await self._store.search_tasks(
            parse_query(request.query, Subject.TASK, free_text=request.free_text),
            sort=parse_sort(request.sort, Subject.TASK),
            start=request.start,
            size=request.size,
        )
        payloads = await self._payloads(page.items, request.payload_bytes_max)
        items = [
            await self._task(found, payloads[2 * number], payloads[2 * number + 1])
            for number, found in enumerate(page.items)
        ]
        return Page(items=items, total=page.total, is_exact=page.is_exact)

    async def open_ids(self, name: str) -> list[str]:
        """Return the ids of a workflow's runs that are RUNNING or PAUSED, newest first.

        Raises:
            InvalidError: There are more than LISTED_MAX.
        """
        is_open = [status.value for status in WorkflowStatus if not status.is_terminal]
        return await self._ids(_is("workflowType", name), _is("status", *is_open))

    async def ids_created(
        self, name: str, version: int, *, from_ms: int, until_ms: int
    ) -> list[str]:
        """Return the ids of a version's runs created in a window, both ends included.

        Raises:
            InvalidError: There are more than LISTED_MAX.
        """
        created = FIELDS[Subject.WORKFLOW]["startTime"]
        return await self._ids(
            _is("workflowType", name),
            _is("version", version),
            Comparison(created, ">=", (from_ms,)),
            Comparison(created, "<=", (until_ms,)),
        )

    async def correlated(
        self,
        name: str,
        correlation_ids: Sequence[str],
        *,
        include_closed: bool = False,
        with_tasks: bool = False,
    ) -> dict[str, list[RunView]]:
        """Return a workflow's runs by correlation id, newest first; each id asked for is there.

        Without ``include_closed`` only those that are RUNNING: not the paused ones, as Conductor.

        Raises:
            InvalidError: There are more than CORRELATED_MAX, or too many ids.
        """
        if len(correlation_ids) > CORRELATIONS_MAX:
            raise InvalidError(f"more than {CORRELATIONS_MAX} correlation ids; ask for fewer")
        grouped: dict[str, list[RunView]] = {word: [] for word in correlation_ids}
        if not grouped:
            return grouped
        tests = [_is("workflowType", name), _is("correlationId", *grouped)]
        if not include_closed:
            tests.append(_is("status", WorkflowStatus.RUNNING.value))
        found = await self._all(tests, CORRELATED_MAX)
        for view in await self._views(found, ANSWER_BYTES_MAX, with_tasks=with_tasks):
            grouped[view.workflow.correlation_id or ""].append(view)
        return grouped

    async def _ids(self, *tests: Comparison) -> list[str]:
        return [run.workflow_id for run in await self._all(tests, LISTED_MAX)]

    async def _all(self, tests: Sequence[Comparison], count_max: int) -> list[Workflow]:
        """Return all runs that pass, or refuse when they are too many for one answer."""
        page = await self._store.search(
            Query(Subject.WORKFLOW, Every(tuple(tests))),
            sort=DEFAULT_SORT[Subject.WORKFLOW],
            start=0,
            size=count_max,
        )
        if page.total > count_max:
            raise InvalidError(
                f"more than {count_max} runs; turn pages with GET /api/workflow/search"
            )
        return page.items

    async def _views(
        self, runs: Sequence[Workflow], bytes_max: int, *, with_tasks: bool
    ) -> list[RunView]:
        """Return those of the runs that are there and whole, with payloads up to ``bytes_max``."""
        views = []
        budget = _Budget()
        for some in _slices(runs):
            # What is newer than the version found has changed since; tasks are older.
            known = [(run.workflow_id, 0 if with_tasks else run.version) for run in some]
            loaded = await self._load(known)
            for workflow_id, _ in known:
                if workflow_id not in loaded:
                    continue
                found = loaded[workflow_id]
                try:
                    graph = await self._definitions.graph(found.workflow.definition)
                except UnreadableError:
                    continue  # damaged, as its row may be: the others are shown
                view = run_view(build(found, graph), with_tasks=with_tasks)
                parts = [view.input, view.output, view.variables]
                parts += [part for task in view.tasks for part in (task.input, task.output)]
                budget.spend(part.size_bytes for part in parts if part.size_bytes <= bytes_max)
                is_whole = all(part.size_bytes <= bytes_max for part in parts)
                views.append(await whole_run(self._store, view) if is_whole else view)
        return views

    async def _load(self, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
        """Load runs together; where one is damaged each alone, without the damaged."""
        try:
            return await self._store.load(known)
        except UnreadableError:
            pass
        loaded: dict[str, Loaded] = {}
        for one in known:
            with suppress(UnreadableError):
                loaded |= await self._store.load([one])
        return loaded

    async def _payloads(self, found: Sequence[FoundTask], bytes_max: int) -> list[Payload]:
        """Return input and output of each task, those up to ``bytes_max`` with their bytes."""
        payloads: list[Payload] = []
        budget = _Budget()
        for some in _slices(found):
            wanted = []
            for one in some:
                for part, payload in (("input", one.input), ("output", one.output)):
                    payloads.append(payload or EMPTY)
                    if payload is not None and payload.size_bytes <= bytes_max:
                        key = (one.workflow.workflow_id, one.task.seq, part)
                        wanted.append((len(payloads) - 1, key))
            budget.spend(payloads[place].size_bytes for place, _ in wanted)
            read = await self._store.fetch([key for _, key in wanted]) if wanted else []
            for (place, _), payload in zip(wanted, read, strict=True):
                payloads[place] = payload
        return payloads

    async def _task(
        self, found: FoundTask, given: Payload, result: Payload
    ) -> tuple[RunView, TaskView]:
        run = RunView(
            workflow=found.workflow,
            input=EMPTY,
            output=EMPTY,
            variables=EMPTY,
            tasks=[],
            graph=await self._definitions.graph(found.workflow.definition),
        )
        return run, TaskView(task=found.task, input=given, output=result, lease=found.lease)


class _Budget:
    """Counts the bytes of an answer."""

    def __init__(self) -> None:
        self._left = ANSWER_BYTES_MAX

    def spend(self, sizes: Iterator[int]) -> None:
        """Take bytes, or refuse the request."""
        self._left -= sum(sizes)
        if self._left < 0:
            raise InvalidError(
                f"size: the payloads of this page exceed {ANSWER_BYTES_MAX} bytes; ask for fewer"
            )


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[begin : begin + SLICE] for begin in range(0, len(items), SLICE))


def _is(name: str, *values: str | int) -> Comparison:
    return Comparison(FIELDS[Subject.WORKFLOW][name], "IN", values)


def _and(query: Query, test: Comparison) -> Query:
    return replace(query, where=test if query.where is None else Every((query.where, test)))
