"""From entries of the journal to the events of this dialect, and to the copy of an instance.

Source: S3.4. A step is told as started when it is scheduled: its worker is in the same process.
Whatever ends otherwise than well is told as failed, so that each start has its end.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from batuta.dialects.nest import moment
from batuta.dialects.steps.lower import FUNCTION
from batuta.dialects.steps.runner import given_of
from batuta.dialects.steps.view import decoded, instance, or_empty
from batuta.model.execution import WorkflowStatus
from batuta.runtime.view import RunView
from batuta.sinks.base import body_of
from batuta.sinks.passage import Passage, TaskChange

Document = dict[str, Any]


async def tell(passage: Passage) -> list[bytes]:
    """Return the events that an entry of an instance's journal means, in order."""
    told = [await _started(passage)] if passage.is_start else []
    failure: str | None = None
    for change in passage.tasks:
        if change.task.task_type != FUNCTION:
            continue
        given = decoded(await passage.run.payload(change.task.seq, "input"))
        if change.is_new:
            told.append(_step_started(passage, change, given))
        if change.status is not None and change.status.is_terminal:
            output = decoded(await passage.run.payload(change.task.seq, "output"))
            ended = _step_ended(passage, change, given, output)
            told.append(ended)
            if "error" in ended:
                failure = f"Error in step {given.get('stepName')}: {ended['error']}"
    return [body_of(document) for document in [*told, *_ended(passage, failure)]]


def document(run: RunView) -> bytes:
    """Return an instance as its copy elsewhere shows it."""
    return msgspec.json.encode(instance(run))


async def _started(passage: Passage) -> Document:
    workflow = passage.run.workflow
    given = decoded(await passage.run.payload(0, "input"))
    return {
        "type": "WORKFLOW_STARTED",
        "instanceId": workflow.workflow_id,
        "workflowDefinitionId": given.get("definitionId"),
        "workflowName": workflow.name,
        "startedAt": moment(workflow.created_at_ms),
        "initialPayload": given.get("payload"),
    }


def _step_started(passage: Passage, change: TaskChange, given: Document) -> Document:
    return {
        "type": "STEP_STARTED",
        "instanceId": passage.run.workflow.workflow_id,
        "stepId": given.get("stepId"),
        "stepName": given.get("stepName"),
        "functionName": given.get("functionName"),
        "input": or_empty(given_of(given)[1]),
        "startedAt": moment(change.task.scheduled_at_ms or passage.row.entry.at_ms),
    }


def _step_ended(
    passage: Passage, change: TaskChange, given: Document, output: Document
) -> Document:
    assert change.status is not None, "a step that has ended has a status"
    is_success = change.status.is_successful
    reason = change.fields.get("r") or change.task.reason or change.status.value
    return {
        "type": "STEP_COMPLETED" if is_success else "STEP_FAILED",
        "instanceId": passage.run.workflow.workflow_id,
        "stepId": given.get("stepId"),
        "stepName": given.get("stepName"),
        **({"output": or_empty(output.get("output"))} if is_success else {"error": reason}),
        "endedAt": moment(change.fields.get("ea") or passage.row.entry.at_ms),
    }


def _ended(passage: Passage, failure: str | None) -> Iterator[Document]:
    status, workflow = passage.status, passage.run.workflow
    if status is None or not status.is_terminal:
        return
    reason = passage.fields.get("r") or status.value
    is_failure = status is WorkflowStatus.FAILED and failure is not None
    yield {
        "type": "WORKFLOW_COMPLETED" if status.is_successful else "WORKFLOW_FAILED",
        "instanceId": workflow.workflow_id,
        "workflowName": workflow.name,
        **({} if status.is_successful else {"error": failure if is_failure else reason}),
        "endedAt": moment(passage.fields.get("ea") or passage.row.entry.at_ms),
    }
