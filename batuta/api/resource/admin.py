"""What operators and their monitors ask of a server: admin, queue admin, version, actuator.

Conductor repairs here what its queues and its database disagree about. In Batuta both are rows
of one transaction, so that nothing can be lost between them: the calls decide the run and say
whether there was anything left to do. Conductor's two status queues, by which outside systems
complete WAIT tasks, are not kept either: what is put into them is reported at once.
"""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import batuta
from batuta.api.body import object_payload, refuse
from batuta.api.request import (
    EMPTY,
    Parameter,
    Reply,
    Request,
    Route,
    json_reply,
    read_body,
    text_reply,
)
from batuta.api.resource.page import is_healthy
from batuta.api.resource.search import whole_tasks
from batuta.api.wire import TaskBody
from batuta.model.command import DecideWorkflow, UpdateReference
from batuta.model.error import NotFoundError
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.runtime.search import SearchRequest

PENDING_COUNT = 100  # tasks that are listed when the client does not say. Source: conductor
# The statuses for which Conductor has a queue; a report of another is refused.
STATUS_QUEUES = {
    TaskStatus.COMPLETED.value: TaskStatus.COMPLETED,
    TaskStatus.FAILED.value: TaskStatus.FAILED,
}
_QUEUE = "batuta:status:{}"
# A wheel has no date of its own; its files have that of their installation.
_INSTALLED = datetime.fromtimestamp(Path(batuta.__file__).stat().st_mtime, UTC).isoformat(
    timespec="seconds"
)


class ComponentBody(msgspec.Struct, frozen=True):
    """A part of the server and how it is."""

    status: str


class ActuatorBody(msgspec.Struct, frozen=True):
    """Whether the server takes work, in Spring Boot's words."""

    status: str
    components: dict[str, ComponentBody]


async def get_config(request: Request) -> Reply:
    """Show version, build and settings that are no secrets, all as text."""
    status = await request.engine.status()
    settings = request.settings
    return json_reply(
        {
            "version": batuta.__version__,
            "buildDate": _INSTALLED,
            "python.version": platform.python_version(),
            "os.name": platform.system(),
            "batuta.store": status.store,
            "batuta.node": status.node,
            "batuta.allowedHosts": ",".join(settings.allowed_hosts),
            "batuta.bodyBytesMax": str(settings.body_bytes_max),
            "batuta.strict": str(settings.strict).lower(),
        }
    )


async def list_pending(request: Request) -> Reply:
    """Show a page of the tasks of a definition name that have not ended."""
    name = request.values[0].replace('"', '""')
    wish = SearchRequest(
        query=f'taskDefName = "{name}" AND status IN (SCHEDULED, IN_PROGRESS)',
        start=request.integer("start", 0),
        size=request.integer("count", PENDING_COUNT),
    )
    return json_reply((await whole_tasks(request, wish)).results)


async def requeue_sweep(request: Request) -> Reply:
    """Decide a run now; `true.ID` when there was something left to do, else `false.ID`."""
    workflow_id = request.values[0]
    return text_reply(f"{_word(is_so=await _decide(request, workflow_id))}.{workflow_id}")


async def verify_and_repair(request: Request) -> Reply:
    """Decide a run now; `true` when there was something left to do."""
    return text_reply(_word(is_so=await _decide(request, request.values[0])))


async def get_event_queues(request: Request) -> Reply:
    """Show the event queues that are listened to: none, without event handlers."""
    request.boolean("verbose", default=False)
    return json_reply({})


async def get_status_queue_sizes(_request: Request) -> Reply:
    """Show how many reports wait to be read: each is in its run before it is answered."""
    return json_reply({_QUEUE.format(word): 0 for word in STATUS_QUEUES})


async def get_status_queues(_request: Request) -> Reply:
    """Show the queues' names by the status that they report."""
    return json_reply({word: _QUEUE.format(word) for word in STATUS_QUEUES})


async def report_by_reference(request: Request) -> Reply:
    """Report on the open task of a reference name; without one nothing changes, as Conductor."""
    workflow_id, reference_name, word = request.values
    output = object_payload(await read_body(request))
    await _report(request, workflow_id, reference_name, _status(word), output)
    return EMPTY


async def report_by_task(request: Request) -> Reply:
    """Report on a task by its id; one that has ended stays as it is."""
    workflow_id, task_id, word = request.values
    output = object_payload(await read_body(request))
    status = _status(word)
    run, view = await request.engine.get_task(task_id)
    if run.workflow.workflow_id != workflow_id:
        raise NotFoundError(f"workflow {workflow_id!r} has no task {task_id!r}")
    if not view.task.status.is_terminal:
        await _report(request, workflow_id, view.task.reference_name, status, output)
    return EMPTY


async def get_version(_request: Request) -> Reply:
    """Show the server's version."""
    return text_reply(batuta.__version__)


async def actuator_health(request: Request) -> Reply:
    """Say whether the server takes work: 200 UP, or 503 while it starts or stops."""
    is_up = is_healthy(request.engine)
    word = "UP" if is_up else "OUT_OF_SERVICE"
    components = {name: ComponentBody(word) for name in ("engine", "store")}
    return json_reply(ActuatorBody(word, components), 200 if is_up else 503)


async def actuator_info(_request: Request) -> Reply:
    """Show what Spring Boot's info endpoint shows of Conductor: nothing."""
    return json_reply({})


async def _decide(request: Request, workflow_id: str) -> bool:
    """Decide a run; say whether it has changed."""
    before = await request.engine.get(workflow_id, with_tasks=False)
    await request.engine.control(DecideWorkflow(workflow_id))
    after = await request.engine.get(workflow_id, with_tasks=False)
    return after.workflow.version != before.workflow.version


async def _report(
    request: Request, workflow_id: str, reference_name: str, status: TaskStatus, output: Payload
) -> None:
    await request.engine.get(workflow_id, with_tasks=False)  # an unknown run is a 404
    command = UpdateReference(
        workflow_id=workflow_id, reference_name=reference_name, status=status, output=output
    )
    try:
        await request.engine.update_reference(command)
    except NotFoundError:
        return


def _status(word: str) -> TaskStatus:
    status = STATUS_QUEUES.get(word)
    if status is None:
        raise refuse("status", f"there is a queue for COMPLETED and FAILED, not {word!r}", word)
    return status


def _word(*, is_so: bool) -> str:
    return "true" if is_so else "false"


_TEXTS = dict[str, str]
_ADMIN = (
    Route(
        method="GET",
        path="/api/admin/config",
        handler=get_config,
        summary="Show version and settings",
        answer=_TEXTS,
    ),
    Route(
        method="GET",
        path="/api/admin/task/{taskType}",
        handler=list_pending,
        summary="Show the tasks of a name that have not ended",
        answer=list[TaskBody],
        also=(400,),
        query=(
            Parameter("start", int, 0, "How many to pass over."),
            Parameter("count", int, PENDING_COUNT, "1 to 5000."),
        ),
    ),
    Route(
        method="POST",
        path="/api/admin/sweep/requeue/{workflowId}",
        handler=requeue_sweep,
        summary="Decide a run now; `true.ID` when something was left to do",
        answer=str,
        also=(404,),
    ),
    Route(
        method="POST",
        path="/api/admin/consistency/verifyAndRepair/{workflowId}",
        handler=verify_and_repair,
        summary="Decide a run now; `true` when something was left to do",
        answer=str,
        also=(404,),
    ),
    Route(
        method="GET",
        path="/api/admin/queues",
        handler=get_event_queues,
        summary="Show the event queues that are listened to",
        answer=_TEXTS,
        also=(400,),
        query=(Parameter("verbose", bool, default=False),),
    ),
)
_QUEUE_ADMIN = (
    Route(
        method="GET",
        path="/api/queue/size",
        handler=get_status_queue_sizes,
        summary="Show how many outside reports wait to be read",
        answer=dict[str, int],
    ),
    Route(
        method="GET",
        path="/api/queue/",
        handler=get_status_queues,
        summary="Show the queues for outside reports, by status",
        answer=_TEXTS,
    ),
    Route(
        method="POST",
        path="/api/queue/update/{workflowId}/{taskRefName}/{status}",
        handler=report_by_reference,
        summary="Report on the open task of a reference name: COMPLETED or FAILED",
        request=dict[str, Any],
        also=(400, 404),
    ),
    Route(
        method="POST",
        path="/api/queue/update/{workflowId}/task/{taskId}/{status}",
        handler=report_by_task,
        summary="Report on a task: COMPLETED or FAILED",
        request=dict[str, Any],
        also=(400, 404),
    ),
)
_MONITOR = (
    Route(
        method="GET",
        path="/api/version",
        handler=get_version,
        summary="Show the server's version",
        answer=str,
    ),
    Route(
        method="GET",
        path="/actuator/health",
        handler=actuator_health,
        summary="Say whether the server takes work, in Spring Boot's words",
        answer=ActuatorBody,
        also=(503,),
    ),
    Route(
        method="GET",
        path="/actuator/info",
        handler=actuator_info,
        summary="Show nothing, as Conductor's",
        answer=_TEXTS,
    ),
)

ADMIN_ROUTES: tuple[Route, ...] = (
    *(msgspec.structs.replace(row, group="admin") for row in _ADMIN),
    *(msgspec.structs.replace(row, group="queue admin") for row in _QUEUE_ADMIN),
    *(msgspec.structs.replace(row, group="server") for row in _MONITOR),
)
