"""The rows of the route table that search, and the look-ups beside it."""

from collections.abc import Awaitable, Callable
from typing import Any

from batuta.api.request import Parameter, Reply, Request, Route
from batuta.api.resource import search
from batuta.api.summary import (
    TasksBody,
    TaskSummariesBody,
    WorkflowsBody,
    WorkflowSummariesBody,
)
from batuta.api.wire import WorkflowBody

_SEARCH = (
    Parameter("start", int, 0, "How many hits to pass over."),
    Parameter("size", int, search.PAGE_SIZE, "1 to 5000."),
    Parameter("sort", str, note="`field:ASC` or `field:DESC`, joined by `|`; newest first."),
    Parameter("freeText", str, "*", "Part of an id, a name or a reason."),
    Parameter("query", str, note="Such as `status IN (FAILED, TIMED_OUT) AND startTime>0`."),
)
_SEARCH_RUNS = (
    *_SEARCH,
    Parameter("topLevelOnly", bool, default=False, note="Without sub-workflows."),
)
_CORRELATED = (
    Parameter("includeClosed", bool, default=False, note="Not only those that are RUNNING."),
    Parameter("includeTasks", bool, default=False),
)


def _group(path: str) -> str:
    if path.startswith("/api/workflow/bulk"):
        return "workflow bulk"
    return "task" if path.startswith("/api/tasks") else "workflow"


def _row(
    line: str,
    handler: Callable[[Request], Awaitable[Reply]],
    summary: str,
    answer: Any,
    query: tuple[Parameter, ...],
    **more: Any,
) -> Route:
    method, path = line.split(" ")
    return Route(
        method=method,
        path=path,
        handler=handler,
        summary=summary,
        group=_group(path),
        answer=answer,
        query=query,
        also=(400,),
        **more,
    )


SEARCH_ROUTES: tuple[Route, ...] = (
    _row(
        "GET /api/workflow/search",
        search.workflow_summary_page,
        "Find runs; show their summaries",
        answer=WorkflowSummariesBody,
        query=_SEARCH_RUNS,
    ),
    _row(
        "GET /api/workflow/search-v2",
        search.workflow_page,
        "Find runs; show them without tasks",
        answer=WorkflowsBody,
        query=_SEARCH_RUNS,
    ),
    _row(
        "GET /api/workflow/search-by-tasks",
        search.workflow_summary_page_by_tasks,
        "Find runs by their tasks; show their summaries",
        answer=WorkflowSummariesBody,
        query=_SEARCH,
    ),
    _row(
        "GET /api/workflow/search-by-tasks-v2",
        search.workflow_page_by_tasks,
        "Find runs by their tasks; show them without tasks",
        answer=WorkflowsBody,
        query=_SEARCH,
    ),
    _row(
        "GET /api/workflow/running/{name}",
        search.get_running,
        "List ids of a workflow's open runs, or of those created in a window",
        answer=list[str],
        query=(
            Parameter("version", int, 1, "Only with both times."),
            Parameter("startTime", str, note="Unix ms."),
            Parameter("endTime", str, note="Unix ms."),
        ),
    ),
    _row(
        "GET /api/workflow/{name}/correlated/{correlationId}",
        search.get_correlated,
        "Show a workflow's runs of one correlation id",
        answer=list[WorkflowBody],
        query=_CORRELATED,
    ),
    _row(
        "POST /api/workflow/{name}/correlated",
        search.get_many_correlated,
        "Show a workflow's runs of many correlation ids, by these",
        request=list[str],
        answer=dict[str, list[WorkflowBody]],
        query=_CORRELATED,
    ),
    _row(
        "POST /api/workflow/bulk/search",
        search.get_many,
        "Show many runs by their ids",
        request=list[str],
        answer=search.FoundBody,
        query=(Parameter("includeTasks", bool, default=True),),
    ),
    _row(
        "GET /api/tasks/search",
        search.task_summary_page,
        "Find tasks; show their summaries",
        answer=TaskSummariesBody,
        query=_SEARCH,
    ),
    _row(
        "GET /api/tasks/search-v2",
        search.task_page,
        "Find tasks; show them whole",
        answer=TasksBody,
        query=_SEARCH,
    ),
)
