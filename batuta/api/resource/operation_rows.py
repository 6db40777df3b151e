"""The rows of the route table for operations on runs, singly and in bulk, and waiting calls."""

from collections.abc import Awaitable, Callable
from typing import Any

from batuta.api.body import StartBody
from batuta.api.request import Parameter, Reply, Request, Route
from batuta.api.resource import blocking, bulk, operations
from batuta.api.resource.metadata import BulkBody
from batuta.api.wire import WorkflowBody

_LATEST = Parameter("useLatestDefinitions", bool, default=False)
_ARCHIVE = Parameter("archiveWorkflow", bool, default=True, note="Only a run that has ended.")
_REASON = Parameter("reason", str)
_STRATEGY = Parameter(
    "returnStrategy", str, "TARGET_WORKFLOW", "Or BLOCKING_WORKFLOW, BLOCKING_TASK(_INPUT)."
)


def _row(
    line: str, handler: Callable[[Request], Awaitable[Reply]], summary: str, **more: Any
) -> Route:
    method, path = line.split(" ")
    group = "task" if path.startswith("/api/tasks") else "workflow"
    return Route(
        method=method, path=path, handler=handler, summary=summary, **{"group": group, **more}
    )


def _bulk(
    line: str,
    handler: Callable[[Request], Awaitable[Reply]],
    summary: str,
    *query: Parameter,
) -> Route:
    return _row(
        line,
        handler,
        summary,
        group="workflow bulk",
        request=list[str],
        answer=BulkBody,
        also=(400,),
        query=query,
    )


OPERATION_ROUTES: tuple[Route, ...] = (
    _row(
        "POST /api/workflow/{workflowId}/restart",
        operations.restart,
        "Run an ended run again from its beginning",
        status=204,
        also=(404, 409),
        query=(_LATEST,),
    ),
    _row(
        "POST /api/workflow/{workflowId}/rerun",
        operations.rerun,
        "Run an ended run again, all of it or from one task; the answer is its id",
        request=operations.RerunBody,
        answer=str,
        also=(400, 404, 409),
    ),
    _row(
        "PUT /api/workflow/{workflowId}/skiptask/{taskReferenceName}",
        operations.skip_task,
        "Step over a task before the run comes to it",
        request=operations.SkipBody,
        also=(400, 404, 409),
    ),
    _row(
        "DELETE /api/workflow/{workflowId}/remove",
        operations.remove,
        "Delete a run with all it has",
        also=(400, 404),
        query=(_ARCHIVE,),
    ),
    _row(
        "DELETE /api/workflow/{workflowId}/terminate-remove",
        operations.terminate_remove,
        "Terminate a run, unless it has ended, and delete it",
        also=(404, 409),
        query=(_REASON, _ARCHIVE),
    ),
    _row(
        "POST /api/workflow/{workflowId}/resetcallbacks",
        operations.reset_callbacks,
        "Offer tasks that wait out a delay to workers now",
        status=204,
        also=(404, 409),
    ),
    _row(
        "PUT /api/workflow/decide/{workflowId}",
        operations.decide,
        "Settle what may have been left over",
        also=(404,),
    ),
    _row(
        "POST /api/workflow/execute/{name}/{version}",
        blocking.execute,
        "Start a workflow and wait until it has ended or something blocks it",
        request=StartBody,
        answer=blocking.SignalBody,
        also=(400, 404, 429, 503),
        query=(
            Parameter("requestId", str),
            Parameter("waitUntilTaskRef", str, note="Reference names, joined by commas."),
            Parameter("waitForSeconds", int, blocking.WAIT_S, "0 is 10; at most 600."),
            _STRATEGY,
        ),
    ),
    _row(
        "POST /api/tasks/{workflowId}/{taskRefName}/{status}/sync",
        blocking.update_reference_sync,
        "Report on the open task of a reference name; the answer is the run",
        request=dict[str, Any],
        answer=WorkflowBody,
        also=(400, 404),
        query=(Parameter("workerid", str),),
    ),
    _row(
        "POST /api/tasks/{workflowId}/{status}/signal",
        blocking.signal,
        "Report on the first open WAIT of a run or its sub-workflows",
        request=dict[str, Any],
        also=(400, 404),
    ),
    _row(
        "POST /api/tasks/{workflowId}/{status}/signal/sync",
        blocking.signal_sync,
        "Report on the first open WAIT, and wait until the run has ended or is blocked again",
        request=dict[str, Any],
        answer=blocking.SignalBody,
        also=(400, 404, 429),
        query=(_STRATEGY, Parameter("timeoutMillis", int, blocking.SIGNAL_WAIT_MS)),
    ),
    _bulk("PUT /api/workflow/bulk/pause", bulk.pause, "Pause many runs"),
    _bulk("PUT /api/workflow/bulk/resume", bulk.resume, "Resume many runs"),
    _bulk("POST /api/workflow/bulk/restart", bulk.restart, "Restart many runs", _LATEST),
    _bulk("POST /api/workflow/bulk/retry", bulk.retry, "Retry many runs"),
    _bulk("POST /api/workflow/bulk/terminate", bulk.terminate, "Terminate many runs", _REASON),
    _bulk("DELETE /api/workflow/bulk/remove", bulk.remove, "Delete many runs", _ARCHIVE),
    _bulk(
        "DELETE /api/workflow/bulk/terminate-remove",
        bulk.terminate_remove,
        "Terminate and delete many runs",
        _REASON,
        _ARCHIVE,
    ),
)
