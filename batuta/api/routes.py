"""The one route table: what the server answers, by which handler, with which types.

Paths, methods, types and status codes are Conductor's (contract endpoints) except below
`/api/batuta` and for the pages. A row drives matching, 404 and 405, OpenAPI and the docs.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from batuta.api import hot, openapi
from batuta.api.body import StartBody, TaskResultBody
from batuta.api.external.files import FILE_ROUTES
from batuta.api.external.location import EXTERNAL_ROUTES
from batuta.api.lenient.rows import LENIENT_ROUTES
from batuta.api.live.resource import LIVE_ROUTES
from batuta.api.rehearsal.resource import REHEARSAL_ROUTES
from batuta.api.request import Parameter, Reply, Request, Route
from batuta.api.resource import metadata, page, task, workflow
from batuta.api.resource.admin import ADMIN_ROUTES
from batuta.api.resource.explain import EXPLAIN_ROUTES
from batuta.api.resource.operation_rows import OPERATION_ROUTES
from batuta.api.search import SEARCH_ROUTES
from batuta.api.summary import TasksBody
from batuta.api.wire import StatusBody, TaskBody, WorkflowBody
from batuta.model.definition import TaskDef, WorkflowDef

_DOMAIN = Parameter("domain", str, note="A named subset of the queue.")
_WORKER = Parameter("workerid", str, note="Who asks; shown with the task.")
_TASK_TYPE = Parameter("taskType", str, is_required=True)
_OBJECT = dict[str, Any]


def _row(
    line: str, handler: Callable[[Request], Awaitable[Reply]], summary: str, **more: Any
) -> Route:
    method, path = line.split(" ")
    return Route(method=method, path=path, handler=handler, summary=summary, **more)


def _group(name: str, *rows: Route) -> tuple[Route, ...]:
    return tuple(msgspec.structs.replace(row, group=name) for row in rows)


_WORKFLOW = _group(
    "workflow",
    _row(
        "POST /api/workflow",
        hot.start,
        "Start a workflow; the answer is its id",
        request=StartBody,
        answer=str,
        also=(400, 404, 429, 503),
        is_hot=True,
    ),
    _row(
        "POST /api/workflow/{name}",
        hot.start_by_name,
        "Start a workflow by name; the body is its input",
        request=_OBJECT,
        answer=str,
        also=(400, 404, 429, 503),
        query=(
            Parameter("version", int, note="Absent or 0: the latest."),
            Parameter("correlationId", str),
            Parameter("priority", int, 0, "0 to 99; higher is polled first."),
        ),
        is_hot=True,
    ),
    _row(
        "GET /api/workflow/{workflowId}",
        workflow.get_workflow,
        "Show a run, with its tasks in order of creation",
        answer=WorkflowBody,
        also=(404,),
        query=(Parameter("includeTasks", bool, default=True),),
    ),
    _row(
        "GET /api/workflow/{workflowId}/status",
        workflow.get_status,
        "Show where a run stands",
        answer=StatusBody,
        also=(404,),
        query=(
            Parameter("includeOutput", bool, default=False),
            Parameter("includeVariables", bool, default=False),
        ),
    ),
    _row(
        "GET /api/workflow/{workflowId}/tasks",
        task.list_tasks,
        "Show a page of a run's tasks in order of creation",
        answer=TasksBody,
        also=(400, 404),
        query=(
            Parameter("start", int, 0, "How many to pass over."),
            Parameter("count", int, task.PAGE_SIZE, "1 to 5000."),
            Parameter("status", str, note="Repeated, or joined by commas; case does not count."),
        ),
    ),
    _row(
        "PUT /api/workflow/{workflowId}/pause",
        workflow.pause,
        "Stop scheduling tasks; those in hand go on",
        also=(404, 409),
    ),
    _row(
        "PUT /api/workflow/{workflowId}/resume",
        workflow.resume,
        "Go on after a pause",
        also=(404, 409),
    ),
    _row(
        "POST /api/workflow/{workflowId}/retry",
        workflow.retry,
        "Try the failed tasks of an ended run again",
        status=204,
        also=(404, 409),
        query=(Parameter("resumeSubworkflowTasks", bool, default=False),),
    ),
    _row(
        "DELETE /api/workflow/{workflowId}",
        workflow.terminate,
        "End a run now; its failure workflow is not started",
        also=(404, 409),
        query=(Parameter("reason", str),),
    ),
)

_TASK = _group(
    "task",
    _row(
        "GET /api/tasks/poll/{taskType}",
        hot.poll,
        "Take one task of a type; 204 when there is none",
        answer=TaskBody,
        also=(204,),
        query=(_WORKER, _DOMAIN),
        is_hot=True,
    ),
    _row(
        "GET /api/tasks/poll/batch/{taskType}",
        hot.poll_batch,
        "Take tasks of a type, waiting until one is there; [] when none came",
        answer=list[TaskBody],
        also=(400,),
        query=(
            _WORKER,
            _DOMAIN,
            Parameter("count", int, 1, f"At most {hot.POLL_COUNT_MAX}."),
            Parameter("timeout", int, hot.POLL_WAIT_MS, "In ms, at most 5000."),
        ),
        is_hot=True,
    ),
    _row(
        "POST /api/tasks",
        hot.update,
        "Report on a task; the answer is its id",
        request=TaskResultBody,
        answer=str,
        also=(400, 404),
        is_hot=True,
    ),
    _row(
        "POST /api/tasks/update-v2",
        hot.update_and_poll,
        "Report on a task and take the next one of its queue; 204 when there is none",
        request=TaskResultBody,
        answer=TaskBody,
        also=(204, 400, 404),
        is_hot=True,
    ),
    _row(
        "POST /api/tasks/{workflowId}/{taskRefName}/{status}",
        task.update_reference,
        "Report on the open task of a reference name; empty when there is none",
        request=_OBJECT,
        answer=str,
        also=(400,),
        query=(_WORKER,),
    ),
    _row(
        "POST /api/tasks/{taskId}/log",
        task.add_log,
        "Keep a log line: the body as it is",
        request=bytes,
        also=(404,),
    ),
    _row(
        "GET /api/tasks/{taskId}/log",
        task.get_log,
        "Show a task's log, oldest line first; 204 when it is empty",
        answer=list[task.LogLineBody],
        also=(204,),
    ),
    _row("GET /api/tasks/{taskId}", task.get_task, "Show a task", answer=TaskBody, also=(404,)),
    _row(
        "GET /api/tasks/queue/polldata",
        task.get_poll_data,
        "Show who polled a task type last, by domain",
        answer=list[task.PollDataBody],
        also=(400,),
        query=(_TASK_TYPE,),
    ),
    _row(
        "GET /api/tasks/queue/polldata/all",
        task.get_all_poll_data,
        "Show who polled each task type last",
        answer=list[task.PollDataBody],
    ),
    _row(
        "GET /api/tasks/queue/all",
        task.get_queues,
        "Show the number of ready tasks by queue",
        answer=dict[str, int],
    ),
    _row(
        "GET /api/tasks/queue/all/verbose",
        task.get_queue_details,
        "Show the number of ready tasks, and of those that workers hold, by queue",
        answer=dict[str, dict[str, task.ShardBody]],
    ),
    _row(
        "POST /api/tasks/queue/requeue/{taskType}",
        task.requeue,
        "Have waiting workers look again; the answer is how many tasks are ready",
        answer=str,
    ),
    _row(
        "GET /api/tasks/queue/sizes",
        task.get_queue_sizes,
        "Show the number of ready tasks of the types given",
        answer=dict[str, int],
        query=(Parameter("taskType", str, note="Repeated, or joined by commas."),),
    ),
    _row(
        "GET /api/tasks/queue/size",
        task.get_queue_size,
        "Show the number of ready tasks of one type",
        answer=int,
        also=(400,),
        query=(_TASK_TYPE, _DOMAIN),
    ),
)

_METADATA = _group(
    "metadata",
    _row(
        "POST /api/metadata/workflow",
        metadata.create_workflow_def,
        "Register a workflow definition",
        request=WorkflowDef,
        also=(400, 409),
        query=(Parameter("overwrite", bool, default=False),),
    ),
    _row(
        "PUT /api/metadata/workflow",
        metadata.put_workflow_defs,
        "Register or replace workflow definitions",
        request=list[WorkflowDef],
        answer=metadata.BulkBody,
        also=(400,),
    ),
    _row(
        "POST /api/metadata/workflow/validate",
        metadata.validate_workflow_def,
        "Judge a workflow definition without registering it",
        request=WorkflowDef,
        also=(400,),
    ),
    _row(
        "GET /api/metadata/workflow",
        metadata.list_workflow_defs,
        "Show all workflow definitions",
        answer=list[WorkflowDef],
        query=(Parameter("classifier", str, note="`workflow` is what names no other."),),
    ),
    _row(
        "GET /api/metadata/workflow/latest-versions",
        metadata.list_latest_workflow_defs,
        "Show the latest version of each workflow definition",
        answer=list[WorkflowDef],
    ),
    _row(
        "GET /api/metadata/workflow/names",
        metadata.list_names,
        "Show the names of all workflow definitions",
        answer=list[str],
    ),
    _row(
        "GET /api/metadata/workflow/names-and-versions",
        metadata.list_names_and_versions,
        "Show the versions of each workflow definition, by name",
        answer=dict[str, list[metadata.VersionBody]],
    ),
    _row(
        "GET /api/metadata/workflow/{name}",
        metadata.get_workflow_def,
        "Show a workflow definition",
        answer=WorkflowDef,
        also=(404,),
        query=(Parameter("version", int, note="Absent or 0: the latest."),),
    ),
    _row(
        "GET /api/metadata/workflow/{name}/versions",
        metadata.list_versions,
        "Show the versions of a workflow definition",
        answer=list[metadata.VersionBody],
    ),
    _row(
        "DELETE /api/metadata/workflow/{name}/{version}",
        metadata.delete_workflow_def,
        "Delete a version of a workflow definition; its runs go on",
        also=(400, 404),
    ),
    _row(
        "POST /api/metadata/taskdefs",
        metadata.create_task_defs,
        "Register or replace task definitions",
        request=list[TaskDef],
        also=(400,),
    ),
    _row(
        "PUT /api/metadata/taskdefs",
        metadata.put_task_def,
        "Replace a task definition",
        request=TaskDef,
        also=(400, 404),
    ),
    _row(
        "GET /api/metadata/taskdefs",
        metadata.list_task_defs,
        "Show all task definitions",
        answer=list[TaskDef],
    ),
    _row(
        "GET /api/metadata/taskdefs/{taskType}",
        metadata.get_task_def,
        "Show a task definition",
        answer=TaskDef,
        also=(404,),
    ),
    _row(
        "DELETE /api/metadata/taskdefs/{taskType}",
        metadata.delete_task_def,
        "Delete a task definition; runs keep the one they started with",
        also=(404,),
    ),
)

_SERVER = _group(
    "server",
    _row(
        "GET /health",
        page.health,
        "Say whether the server takes work",
        answer=page.HealthBody,
        also=(503,),
    ),
    _row("GET /api/health", page.health, "The same", answer=page.HealthBody, also=(503,)),
    _row(
        "GET /api/batuta/status",
        page.status,
        "Show the server at a glance: the live page reads it",
        answer=page.NodeBody,
    ),
    _row(
        "GET /api-docs",
        openapi.document,
        "Describe this table as OpenAPI 3.1",
        answer=dict[str, Any],
    ),
    _row("GET /", page.live, "The live page", answer=bytes),
    _row("GET /docs", page.docs, "The documentation page of this table", answer=bytes),
    _row(
        "GET /assets/{name}",
        page.asset,
        "A script or style of the pages",
        answer=bytes,
        also=(404,),
    ),
)

ROUTES: tuple[Route, ...] = (
    *_WORKFLOW,
    *_TASK,
    *OPERATION_ROUTES,
    *SEARCH_ROUTES,
    *_METADATA,
    *_SERVER,
    *ADMIN_ROUTES,
    *EXPLAIN_ROUTES,
    *EXTERNAL_ROUTES,
    *FILE_ROUTES,
    *LIVE_ROUTES,
    *LENIENT_ROUTES,
    *REHEARSAL_ROUTES,
)
