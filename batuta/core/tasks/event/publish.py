"""EVENT publishes a message in the commit that makes its task; KAFKA_PUBLISH is refused.

The message is part of the command's journal entry (``model.change.Publish``): it is there when the
task is, once, and whoever reads the journal gets it in commit order. Source: semantics.md c.9,
gotchas.md 59, 61.
"""

from batuta.core.definition.sink import queue_of
from batuta.core.draft import Draft
from batuta.core.expression.template import TemplateError
from batuta.core.expression.template import compile as compile_template
from batuta.core.scope import RunScope, task_input
from batuta.core.tasks.attempt import Attempt, create, delay_fields, start_or_delay
from batuta.model.change import Publish
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import Payload

# The journal is read from its start to its end, so that its rows stay small. As SQS has it.
MESSAGE_BYTES_MAX = 256 * 1024


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create an EVENT and publish its message, now or after its delay."""
    node = attempt.node.task
    about_sink = {"sink": node.sink, "asyncComplete": node.async_complete}
    task = create(draft, attempt, extra_input=about_sink, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start(draft, task)


def start(draft: Draft, task: Task) -> None:
    """Publish: the message is the task's output, its id the task's.

    The task is complete then; with asyncComplete it is open until somebody reports on it.
    """
    node, workflow = draft.execution.graph.node_of(task), draft.workflow
    output = {
        **task_input(draft, task).value,
        "workflowInstanceId": workflow.workflow_id,
        "workflowType": workflow.name,
        "workflowVersion": workflow.definition_version,
        "correlationId": workflow.correlation_id,
        "taskToDomain": workflow.task_to_domain,
    }
    try:
        sink = compile_template(node.task.sink).resolve(RunScope(draft, task.task_id))
        queue = queue_of(sink, workflow_name=workflow.name, reference_name=task.reference_name)
    except (TemplateError, ValueError) as error:
        _fail(draft, task, TaskStatus.FAILED, output, str(error))
        return
    message = Payload.of({**output, "event_produced": queue})
    if message.size_bytes > MESSAGE_BYTES_MAX:
        reason = (
            f"the message would take {message.size_bytes} bytes, more than {MESSAGE_BYTES_MAX}; "
            "keep large values in task outputs and say where they are"
        )
        _fail(draft, task, TaskStatus.FAILED_WITH_TERMINAL_ERROR, {}, reason)
        return
    draft.note(Publish(queue=queue, message_id=task.task_id, payload=message))
    now_ms = draft.now_ms
    if output.get("asyncComplete") is True:
        status = TaskStatus.IN_PROGRESS
        draft.put(task, status=status, started_at_ms=now_ms, output=message, reason=None)
    else:
        status = TaskStatus.COMPLETED
        draft.end(task, status, started_at_ms=now_ms, output=message, reason=None)


def begin_kafka(draft: Draft, attempt: Attempt) -> None:
    """Create a KAFKA_PUBLISH and fail it, saying that there is no Kafka."""
    task = create(draft, attempt, **delay_fields(attempt))
    if task is not None and start_or_delay(draft, task, attempt):
        start_kafka(draft, task)


def start_kafka(draft: Draft, task: Task) -> None:
    """Fail: this version has no client of Kafka."""
    reason = (
        "KAFKA_PUBLISH: Kafka is not configured here; publish in a worker of your own, or by an "
        "HTTP task to a REST proxy of Kafka"
    )
    _fail(draft, task, TaskStatus.FAILED, {}, reason)


def _fail(
    draft: Draft, task: Task, status: TaskStatus, output: dict[str, object], reason: str
) -> None:
    payload = Payload.of(output)
    draft.end(task, status, started_at_ms=draft.now_ms, output=payload, reason=reason)
