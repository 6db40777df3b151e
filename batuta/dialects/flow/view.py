"""What a run is in the flow builder's words: statuses, results, records. Source: S0.2, S0.6."""

from typing import Any

import msgspec

from batuta.dialects.flow.definition import UNTITLED
from batuta.dialects.nest import moment
from batuta.model.definition import WorkflowTask
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.view import RunView, TaskView

PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
_RUN_WORDS = {
    WorkflowStatus.RUNNING: RUNNING,
    WorkflowStatus.PAUSED: PENDING,
    WorkflowStatus.COMPLETED: COMPLETED,
}

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def status_of(run: RunView) -> dict[str, Any]:
    """Return a run's status: its word, the node it is at, each node's word, what came of them."""
    last = _last(run)
    words = {node_id: _word(last.get(ref)) for node_id, _, ref in _nodes(run)}
    return {
        "status": word_of(run),
        "currentNodeId": next((one for one, word in words.items() if word == RUNNING), None),
        "nodeStatuses": [{"id": node_id, "status": word} for node_id, word in words.items()],
        "results": _results(run, last, is_ended=True),
        "error": run.workflow.reason,
    }


def results_of(run: RunView) -> dict[str, Any]:
    """Return what came of every node, of those that did not end too."""
    return {"status": word_of(run), "results": _results(run, _last(run), is_ended=False)}


def record_of(run: RunView) -> dict[str, Any]:
    """Return the history's record of a run that has ended."""
    workflow = run.workflow
    return {
        "workflowId": workflow.workflow_id,
        "workflowName": name_of(run),
        "status": word_of(run),
        "startTime": moment(workflow.created_at_ms),
        "endTime": moment(workflow.ended_at_ms),
        # What ends in the millisecond in which it began took some of it.
        "durationMs": max(workflow.ended_at_ms - workflow.created_at_ms, 1),
        "nodeCount": len(run.tasks),
        "results": _results(run, _last(run), is_ended=True),
    }


def word_of(run: RunView) -> str:
    """Return a run's word."""
    return _RUN_WORDS.get(run.workflow.status, FAILED)


def name_of(run: RunView) -> str:
    """Return the name that a run was started with."""
    return run.workflow.correlation_id or UNTITLED


def _nodes(run: RunView) -> list[tuple[str, str, str]]:
    """Return the nodes of a run in the order of their list: id, type, reference name."""
    return [_about(task) for task in run.graph.definition.tasks]


def _about(task: WorkflowTask) -> tuple[str, str, str]:
    return str(task.metadata.get("nodeId")), task.name, task.task_reference_name


def _last(run: RunView) -> dict[str, TaskView]:
    """Return the last attempt at each node by its reference name; attempts come in order."""
    return {view.task.node_name: view for view in run.tasks}


def _word(view: TaskView | None) -> str:
    if view is None:
        return PENDING
    status = view.task.status
    if status.is_terminal:
        return COMPLETED if status.is_successful else FAILED
    # One that is given back for a while goes on elsewhere: at a provider that was asked.
    is_begun = view.lease is not None or view.task.callback_after_ms > 0
    return RUNNING if is_begun or status is TaskStatus.IN_PROGRESS else PENDING


def _results(run: RunView, last: dict[str, TaskView], *, is_ended: bool) -> list[dict[str, Any]]:
    """Return the results of all nodes, or of those alone that have ended."""
    nodes = [(about, last.get(about[2])) for about in _nodes(run)]
    return [
        _result(run, about, view)
        for about, view in nodes
        if not is_ended or (view is not None and view.task.status.is_terminal)
    ]


def _result(run: RunView, about: tuple[str, str, str], view: TaskView | None) -> dict[str, Any]:
    node_id, node_type, _ = about
    word = _word(view)
    shown: dict[str, Any] = {
        "nodeId": node_id,
        "nodeType": node_type,
        "success": word == COMPLETED,
    }
    if view is not None and word == COMPLETED:
        shown["data"] = {"type": node_type, "output": _output(view.output, node_type)}
    elif view is not None and word == FAILED:
        status = view.task.status
        shown["error"] = view.task.reason or run.workflow.reason or f"Node ended as {status.value}"
    return shown


def _output(payload: Payload, node_type: str) -> msgspec.Raw | dict[str, Any]:
    """Return an output with its node's type; its parts are not looked into.

    One that was left out for its size says so.
    """
    if payload.raw is None:
        return {"nodeType": node_type, "omittedBytes": payload.size_bytes}
    members = _members.decode(payload.raw)
    if "nodeType" in members:
        return msgspec.Raw(payload.raw)
    own = {"nodeType": msgspec.Raw(msgspec.json.encode(node_type))}
    return msgspec.Raw(msgspec.json.encode({**members, **own}))
