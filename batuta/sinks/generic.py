"""What is told of runs whose front door has no words of its own: Conductor's statuses.

`WORKFLOW_STATUS` and `TASK_STATUS`, one for each change of a status; times are Unix ms, and what
is not set is left out. That a worker has taken a task is no change of its status here: it stays
SCHEDULED until it is reported on.
"""

from typing import Any

from batuta.model.execution import WorkflowStatus
from batuta.sinks.base import body_of
from batuta.sinks.passage import Passage, TaskChange


async def tell(passage: Passage) -> list[bytes]:
    """Return the changes of statuses that an entry made: tasks in order, then the run.

    A run that begins is told as RUNNING first, also one that ends with the same entry.
    """
    running = WorkflowStatus.RUNNING
    told = [_workflow(passage, running)] if passage.is_start else []
    told += [_task(passage, change) for change in passage.tasks if change.status is not None]
    if passage.status is not None and not (passage.is_start and passage.status is running):
        told.append(_workflow(passage, passage.status))
    return [body_of(document) for document in told]


def _workflow(passage: Passage, status: WorkflowStatus) -> dict[str, Any]:
    workflow = passage.run.workflow
    document = {
        "type": "WORKFLOW_STATUS",
        "workflowId": workflow.workflow_id,
        "workflowName": workflow.name,
        "workflowVersion": workflow.definition_version,
        "status": status.value,
        "correlationId": workflow.correlation_id,
        "parentWorkflowId": workflow.parent_id,
        "reasonForIncompletion": passage.fields.get("r"),
        "updateTime": passage.row.entry.at_ms,
    }
    return {key: value for key, value in document.items() if value is not None}


def _task(passage: Passage, change: TaskChange) -> dict[str, Any]:
    workflow, task, status = passage.run.workflow, change.task, change.status
    assert status is not None, "only a change of the status is told"
    document = {
        "type": "TASK_STATUS",
        "workflowId": workflow.workflow_id,
        "workflowName": workflow.name,
        "taskId": task.task_id,
        "referenceTaskName": task.reference_name,
        "taskType": task.task_type,
        "status": status.value,
        "retryCount": task.retry_count,
        "iteration": task.iteration,
        "reasonForIncompletion": change.fields.get("r"),
        "updateTime": passage.row.entry.at_ms,
    }
    return {key: value for key, value in document.items() if value is not None}
