"""From a run of the engine to a run with tasks and logs, in this dialect's words. Source: S1.4."""

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from batuta.dialects.nest import moment
from batuta.model.definition import WorkflowTask
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.view import RunView, TaskView

_RUN_WORDS = {
    WorkflowStatus.RUNNING: "running",
    WorkflowStatus.PAUSED: "running",
    WorkflowStatus.COMPLETED: "succeeded",
    WorkflowStatus.FAILED: "failed",
    WorkflowStatus.TIMED_OUT: "failed",
    WorkflowStatus.TERMINATED: "failed",
}
_DONE = {TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_ERRORS}
_NOT_DONE = {TaskStatus.SKIPPED, TaskStatus.CANCELED}


def status_of(run: RunView) -> dict[str, Any]:
    """Return a run's status: its word, its times, a task for each node, and its logs."""
    workflow = run.workflow
    # Attempts come in order of creation: of each node the last one stays.
    last = {view.task.node_name: view for view in run.tasks}
    tasks = [_task(run, node, last.get(node.task_reference_name)) for node in nodes_of(run)]
    shown: dict[str, Any] = {
        "status": word_of(run),
        "startedAt": moment(workflow.created_at_ms),
        "finishedAt": moment(workflow.ended_at_ms) if workflow.status.is_terminal else None,
        "tasks": tasks,
        "logs": logs_of(run),
    }
    if workflow.status.is_terminal:
        words = [task["status"] for task in tasks]
        counts = {f"{word}Tasks": words.count(word) for word in ("completed", "failed", "skipped")}
        shown["result"] = {**counts, "totalTasks": len(tasks)}
    if workflow.status is WorkflowStatus.TERMINATED:
        shown["cancelled"] = True
    return shown


def word_of(run: RunView) -> str:
    """Return a run's word; one no node of which was taken up yet is queued."""
    word = _RUN_WORDS[run.workflow.status]
    nodes = [view for view in run.tasks if view.task.queue is not None]
    is_untouched = nodes and not any(
        view.lease or view.task.poll_count or view.task.status.is_terminal for view in nodes
    )
    return "queued" if word == "running" and is_untouched else word


def nodes_of(run: RunView) -> list[WorkflowTask]:
    """Return the nodes of a run's graph, in the order of its definition."""
    return run.graph.definition.tasks[0].dag_tasks or []


def logs_of(run: RunView) -> list[dict[str, Any]]:
    """Return what a run has to tell, oldest first."""
    workflow = run.workflow
    found = [_log(run, "system", "Async workflow run started", workflow.created_at_ms)]
    for view in sorted(_ended(run), key=lambda one: (one.task.ended_at_ms, one.task.seq)):
        node_id = str(_node_of(run, view).metadata["nodeId"])
        is_done = view.task.status in _DONE
        content = (decoded(view.output).get("log") or {}).get("content")
        message = content if is_done else view.task.reason
        kind = "node-output" if is_done else "error"
        at_ms = view.task.ended_at_ms
        found.append(_log(run, kind, message or "Task completed", at_ms, node_id, view.task.seq))
    if workflow.status is WorkflowStatus.TERMINATED:
        found.append(_log(run, "system", "Workflow run cancelled", workflow.ended_at_ms))
    return found


def sync_logs_of(run: RunView) -> list[dict[str, Any]]:
    """Return what a synchronous execution answers: a line for each node that ran."""
    found = [{"kind": "system", "nodeId": None, "name": None, "content": "Run started"}]
    for view in sorted(_ended(run), key=lambda one: (one.task.ended_at_ms, one.task.seq)):
        about = _node_of(run, view).metadata
        is_done = view.task.status in _DONE
        told = decoded(view.output).get("log") or {}
        found.append(
            {
                "kind": told.get("kind") if is_done else "error",
                "nodeId": about["nodeId"],
                "name": about["nodeName"],
                "content": told.get("content") if is_done else view.task.reason,
            }
        )
    if run.workflow.status.is_terminal:
        is_well = run.workflow.status.is_successful
        content = "Run finished" if is_well else f"Run failed: {run.workflow.reason or ''}"
        found.append({"kind": "system", "nodeId": None, "name": None, "content": content})
    return found


def summary_of(run: RunView) -> dict[str, Any]:
    """Return a run as a line of a list."""
    workflow = run.workflow
    shown: dict[str, Any] = {
        "id": workflow.workflow_id,
        "status": _RUN_WORDS[workflow.status],
        "startedAt": workflow.created_at_ms,
    }
    if workflow.status.is_terminal:
        shown["finishedAt"] = workflow.ended_at_ms
    return shown


def decoded(payload: Payload) -> dict[str, Any]:
    """Return a payload's object, an empty one where it is none."""
    value = msgspec.json.decode(payload.raw) if payload.raw else None
    return value if isinstance(value, dict) else {}


def _ended(run: RunView) -> Iterator[TaskView]:
    """Yield the attempts that a worker has ended."""
    for view in run.tasks:
        status = view.task.status
        if view.task.queue is not None and status.is_terminal and status not in _NOT_DONE:
            yield view


def _node_of(run: RunView, view: TaskView) -> WorkflowTask:
    return run.graph.node_of(view.task).task


def _task(run: RunView, node: WorkflowTask, last: TaskView | None) -> dict[str, Any]:
    """Return a node's task; its id is the same from the start of the run to its end."""
    about = node.metadata
    shown: dict[str, Any] = {
        "id": _id_of(run, f"task {about['nodeId']}"),
        "nodeId": about["nodeId"],
        "nodeType": about["nodeType"],
        "status": _word_of_task(run, last),
        "startedAt": None,
        "completedAt": None,
    }
    if last is None or last.task.status in _NOT_DONE:
        return shown
    started_at_ms = last.lease.started_at_ms if last.lease else last.task.started_at_ms
    shown["startedAt"] = moment(started_at_ms) if started_at_ms else None
    if last.task.status.is_terminal:
        shown["completedAt"] = moment(last.task.ended_at_ms)
        if last.task.status not in _DONE:
            shown["error"] = last.task.reason
    return shown


def _word_of_task(run: RunView, last: TaskView | None) -> str:
    if last is None:
        return "skipped" if run.workflow.status.is_terminal else "pending"
    status = last.task.status
    if status in _NOT_DONE:
        return "skipped"
    if status.is_terminal:
        return "completed" if status in _DONE else "failed"
    return "running" if last.lease is not None else "queued"


def _log(
    run: RunView, kind: str, message: str, at_ms: int, node_id: str | None = None, seq: int = 0
) -> dict[str, Any]:
    return {
        "id": _id_of(run, f"log {kind} {seq} {at_ms}"),
        "type": kind,
        "message": message,
        "timestamp": moment(at_ms),
        "nodeId": node_id,
    }


def _id_of(run: RunView, what: str) -> str:
    return str(uuid.uuid5(uuid.UUID(run.workflow.workflow_id), what))
