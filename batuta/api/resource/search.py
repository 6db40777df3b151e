"""Search: summaries and whole records of runs and tasks, and the older look-ups beside it."""

import asyncio
from typing import Any

import msgspec
from msgspec.structs import asdict

from batuta.api.body import decode_whole, refuse
from batuta.api.request import Reply, Request, json_reply, read_body
from batuta.api.summary import (
    PRINTED_BYTES_MAX,
    TasksBody,
    WorkflowsBody,
    task_summaries,
    workflow_summaries,
)
from batuta.api.wire import WorkflowBody, is_gathering, task_body, workflow_body
from batuta.model.error import Fault, InvalidError, NotFoundError
from batuta.runtime.search import ANSWER_BYTES_MAX, SearchRequest
from batuta.runtime.view import RunView

IDS_MAX = 1_000  # of one request, as Conductor's
PAGE_SIZE = 100  # what a page has when the client does not say. Source: conductor


class ModelBody(WorkflowBody, frozen=True, kw_only=True):
    """A run as bulk search shows it. Source: gotchas.md 11; conductor WorkflowModel."""

    updated_time: int
    failed_task_id: str | None = None


class FoundBody(msgspec.Struct, frozen=True, rename="camel"):
    """Runs by id, and why some are not there. Source: conductor BulkResponse."""

    bulk_error_results: dict[str, str]
    bulk_successful_results: list[ModelBody]


async def workflow_summary_page(request: Request) -> Reply:
    """Find runs; show their summaries."""
    page = await request.engine.searches.runs(_wish(request, PRINTED_BYTES_MAX))
    # Printing payloads takes Python's time; other requests go on meanwhile.
    return json_reply(await asyncio.to_thread(workflow_summaries, page))


async def workflow_page(request: Request) -> Reply:
    """Find runs; show all but their tasks."""
    return await _workflows(request, by_tasks=False)


async def workflow_summary_page_by_tasks(request: Request) -> Reply:
    """Find runs by what their tasks are; show their summaries."""
    page = await request.engine.searches.runs(_wish(request, PRINTED_BYTES_MAX), by_tasks=True)
    return json_reply(await asyncio.to_thread(workflow_summaries, page))


async def workflow_page_by_tasks(request: Request) -> Reply:
    """Find runs by what their tasks are; show all but their tasks."""
    return await _workflows(request, by_tasks=True)


async def task_summary_page(request: Request) -> Reply:
    """Find tasks; show their summaries."""
    page = await request.engine.searches.tasks(_wish(request, PRINTED_BYTES_MAX))
    return json_reply(await asyncio.to_thread(task_summaries, page))


async def task_page(request: Request) -> Reply:
    """Find tasks; show them whole."""
    return json_reply(await whole_tasks(request, _wish(request, ANSWER_BYTES_MAX)))


async def whole_tasks(request: Request, wish: SearchRequest) -> TasksBody:
    """Return a page of the tasks that are wished for, whole.

    Raises:
        InvalidError: The query, the order or the page is wrong.
    """
    engine = request.engine
    page = await engine.searches.tasks(wish)
    results = []
    for found, view in page.items:
        # What a JOIN or a loop under way has gathered is told by the run's other tasks.
        is_open = is_gathering(view.task)
        run = await engine.get(found.workflow.workflow_id) if is_open else found
        results.append(task_body(run, view))
    return TasksBody(
        total_hits=page.total, total_hits_is_lower_bound=not page.is_exact, results=results
    )


async def get_running(request: Request) -> Reply:
    """List ids of a workflow's open runs, or of a version's runs created in a window.

    The first form takes no notice of ``version``, as Conductor on SQL databases.
    """
    [name] = request.values
    searches = request.engine.searches
    version = request.integer("version", 1)
    from_ms, until_ms = _instant(request, "startTime"), _instant(request, "endTime")
    if from_ms and until_ms:
        return json_reply(
            await searches.ids_created(name, version, from_ms=from_ms, until_ms=until_ms)
        )
    return json_reply(await searches.open_ids(name))


async def get_correlated(request: Request) -> Reply:
    """Show a workflow's runs of one correlation id."""
    name, correlation_id = request.values
    found = await request.engine.searches.correlated(
        name,
        [correlation_id],
        include_closed=request.boolean("includeClosed", default=False),
        with_tasks=request.boolean("includeTasks", default=False),
    )
    return json_reply([workflow_body(run) for run in found[correlation_id]])


async def get_many_correlated(request: Request) -> Reply:
    """Show a workflow's runs of many correlation ids, by these."""
    [name] = request.values
    ids = await _texts(request, "correlation ids")
    found = await request.engine.searches.correlated(
        name,
        ids,
        include_closed=request.boolean("includeClosed", default=False),
        with_tasks=request.boolean("includeTasks", default=False),
    )
    return json_reply({key: [workflow_body(run) for run in runs] for key, runs in found.items()})


async def get_many(request: Request) -> Reply:
    """Show runs by their ids, those that are there; of the others the answer says why not."""
    ids = await _texts(request, "workflow ids")
    if not 1 <= len(ids) <= IDS_MAX:
        raise refuse("body", f"expected 1 to {IDS_MAX} workflow ids, got {len(ids)}")
    with_tasks = request.boolean("includeTasks", default=True)
    body = FoundBody({}, [])
    left = ANSWER_BYTES_MAX
    for one in dict.fromkeys(ids):
        try:
            run = await request.engine.get(one, with_tasks=with_tasks)
        except NotFoundError as error:
            body.bulk_error_results[one] = error.message
            continue
        left -= sum(task.input.size_bytes + task.output.size_bytes for task in run.tasks)
        left -= run.input.size_bytes + run.output.size_bytes + run.variables.size_bytes
        if left < 0:
            raise refuse("body", f"these runs hold more than {ANSWER_BYTES_MAX} bytes; ask by part")
        body.bulk_successful_results.append(_model(run))
    return json_reply(body)


def _model(run: RunView) -> ModelBody:
    shown: dict[str, Any] = asdict(workflow_body(run))
    shown["updated_time"] = run.workflow.updated_at_ms
    return ModelBody(**shown, failed_task_id=run.workflow.failed_task_id)


async def _texts(request: Request, what: str) -> list[str]:
    ids = decode_whole(await read_body(request))
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise refuse("body", f'expected a list of {what}, such as ["order-1", "order-2"]')
    return ids


async def _workflows(request: Request, *, by_tasks: bool) -> Reply:
    wish = _wish(request, ANSWER_BYTES_MAX)
    page = await request.engine.searches.runs(wish, by_tasks=by_tasks)
    body = WorkflowsBody(
        total_hits=page.total,
        total_hits_is_lower_bound=not page.is_exact,
        results=[workflow_body(run) for run in page.items],
    )
    return json_reply(body)


def _wish(request: Request, payload_bytes_max: int) -> SearchRequest:
    classifier = request.text("classifier")
    if classifier is not None:
        message = "no column holds it, so that it cannot be searched for; leave it out"
        raise InvalidError(f"classifier: {message}", [Fault("classifier", message, classifier)])
    return SearchRequest(
        query=request.text("query"),
        free_text=request.text("freeText"),
        sort=request.text("sort"),
        start=request.integer("start", 0),
        size=request.integer("size", PAGE_SIZE),
        is_top_level_only=request.boolean("topLevelOnly", default=False),
        payload_bytes_max=payload_bytes_max,
    )


def _instant(request: Request, name: str) -> int:
    """Return a time of the query in Unix ms; 0 when it is absent."""
    given = request.text(name)
    if given is None:
        return 0
    if not (given.isdecimal() and given.isascii() and len(given) <= 15):
        message = f"expected Unix milliseconds, got {given[:40]!r}"
        raise InvalidError(f"{name}: {message}", [Fault(name, message, given)])
    return int(given)
