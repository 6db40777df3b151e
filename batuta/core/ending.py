"""How a failed attempt is dealt with, and how a run ends.

Source: semantics.md c.3, d.1, d.2, d.9.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from batuta.core.draft import Draft
from batuta.core.expression.template import TemplateError
from batuta.core.expression.template import compile as compile_template
from batuta.core.graph import NAMED_BY_TYPE, Node
from batuta.core.limits.policy import retry_delay_ms
from batuta.core.scope import RunScope, loaded, task_output
from batuta.core.tasks import begin
from batuta.model.change import Failure, NeedDefinition
from batuta.model.command import ChildEnded, StartWorkflow, TerminateWorkflow, TimerKind
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY, Payload

# Never tried again, whatever their policy says (semantics.md d.1).
NOT_RETRIED = NAMED_BY_TYPE | {"DO_WHILE", "DAG"}
# Inputs and outputs in failedWorkflow: half of the largest request. What exceeds it is null there.
FAILED_WORKFLOW_BYTES_MAX = 4_000_000
_Part = Callable[[Payload | None, int, str], msgspec.Raw | None]
_FAILED = frozenset({TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR})
_CHILD_STATUS = {
    WorkflowStatus.COMPLETED: TaskStatus.COMPLETED,
    WorkflowStatus.FAILED: TaskStatus.FAILED,
    WorkflowStatus.TERMINATED: TaskStatus.CANCELED,
    WorkflowStatus.TIMED_OUT: TaskStatus.TIMED_OUT,
}


def is_let_through(draft: Draft, task: Task, node: Node) -> bool:
    """Say whether what follows an unsuccessful task may run.

    Only when it is out of retries: an optional one then counts as COMPLETED_WITH_ERRORS; a
    permissive one stays as it is and the run fails at its end. Source: gotchas.md 28.
    """
    policy = node.policy
    may_pass = policy.is_optional or policy.is_permissive
    return may_pass and not has_retry(draft, task, node)


def has_retry(draft: Draft, task: Task, node: Node) -> bool:
    """Say whether another attempt may follow a failed one. Source: semantics.md d.1, d.3."""
    policy = node.policy
    total_ms = policy.total_timeout_ms
    is_out_of_time = total_ms and draft.now_ms - task.first_scheduled_at_ms >= total_ms
    return (
        task.status.is_retriable
        and node.type not in NOT_RETRIED
        and task.retry_count < policy.retry_count
        and not is_out_of_time
    )


def fail_attempt(draft: Draft, task: Task, node: Node) -> None:
    """Make the next attempt at a failed task, or end the run by it."""
    if has_retry(draft, task, node):
        delay_ms = retry_delay_ms(node.policy, task.retry_count)
        draft.put(task, is_retried=True)
        begin(draft, node, task.suffix, retry_of=task, delay_ms=delay_ms)
        return
    match task.status:
        case TaskStatus.CANCELED:
            status = WorkflowStatus.TERMINATED
        case TaskStatus.TIMED_OUT:
            status = WorkflowStatus.TIMED_OUT
        case _:
            status = WorkflowStatus.FAILED
    reason = f"Task {task.task_id} failed with status: {status} and reason: '{task.reason or ''}'"
    finish(draft, status, reason=reason, failed=task)


def complete(draft: Draft) -> None:
    """End a run whose every task has ended; a permissive failure fails it now."""
    execution = draft.execution
    bad: list[str] = []
    ended = [execution.latest_task(node.reference_name) for node in execution.graph.permissive]
    if execution.graph.dynamic_forks:
        # What ended badly in a branch made at run time and was let through is permissive.
        found = (t for t in execution.in_order() if t.origin is not None and not t.iteration)
        ended += [t for t in found if not t.is_retried]
    for task in ended:
        if task is not None and task.status.is_terminal and not task.status.is_successful:
            reason = f"Task {task.task_id} failed with status: {task.status}"
            bad.append(f"{reason} and reason: '{task.reason or ''}'")
    if bad:
        finish(draft, WorkflowStatus.FAILED, reason=". ".join(bad))
    else:
        finish(draft, WorkflowStatus.COMPLETED, reason=None)


def finish(
    draft: Draft,
    status: WorkflowStatus,
    *,
    reason: str | None,
    failed: Task | None = None,
    output: Payload | None = None,
    is_asked_for: bool = False,
) -> None:
    """End the run: output, live tasks cancelled, parent told, failure workflow started.

    Args:
        failed: The task that ended it, for ``failureTaskId``.
        output: Of a TERMINATE task; else the definition's outputParameters, else that of the
            last task.
        is_asked_for: By the terminate API or a parent: then no failure workflow
            (gotchas.md 45).
    """
    output = _output(draft) if output is None else output
    names = _failed_names(draft)
    changed: dict[str, Any] = {"status": status, "reason": reason, "ended_at_ms": draft.now_ms}
    if failed is not None:
        changed["failed_task_id"] = failed.task_id
    if names:
        changed["failed_references"] = tuple(name for name, _ in names)
        changed["failed_names"] = tuple(dict.fromkeys(name for _, name in names))
    draft.put_workflow(**changed)
    _cancel_live(draft, status, reason)
    draft.agenda.clear()
    draft.checks.clear()
    if draft.execution.graph.definition.timeout_seconds > 0:
        draft.clear_timer(TimerKind.WORKFLOW_TIMEOUT)
    if not status.is_successful and not is_asked_for:
        output = _start_failure_workflow(draft, status, output)
    draft.put_workflow(output=output)
    tell_parent(draft)


def _output(draft: Draft) -> Payload:
    """Return the run's output: outputParameters resolved, else the last task's output."""
    execution = draft.execution
    if execution.graph.definition.output_parameters:
        try:
            return Payload.of(execution.graph.output_template.resolve(RunScope(draft)))
        except TemplateError as error:
            return Payload.of({"error": str(error)})
    last = execution.tasks.get(execution.seq_last)
    return EMPTY if last is None else task_output(draft, last)


def _failed_names(draft: Draft) -> list[tuple[str, str]]:
    """Return (reference, task name) of every FAILED attempt, also of those tried again."""
    execution = draft.execution
    graph = execution.graph
    found = [
        (task.reference_name, graph.node_of(task).task.name)
        for task in execution.in_order()
        if task.status in _FAILED
    ]
    return list(dict.fromkeys(found))


def _cancel_live(draft: Draft, status: WorkflowStatus, reason: str | None) -> None:
    because = (
        f"Parent workflow has been terminated with reason: {reason}"
        if reason
        else f"Parent workflow has been terminated with status {status}"
    )
    for task in draft.execution.live_tasks():
        draft.close(task, TaskStatus.CANCELED)
        if task.child_id:
            draft.send(
                TerminateWorkflow(workflow_id=task.child_id, reason=because, task_id=task.task_id)
            )


def tell_parent(draft: Draft) -> None:
    """Send the end of this run to the task that started it, if one did."""
    workflow = draft.workflow
    if workflow.parent_id is None or workflow.parent_task_id is None:
        return
    label = f"{workflow.name}.{workflow.definition_version}/{workflow.workflow_id}"
    reason = f"Sub workflow {label} failure reason: {workflow.reason or ''}"
    draft.send(
        ChildEnded(
            workflow_id=workflow.parent_id,
            task_id=workflow.parent_task_id,
            child_id=workflow.workflow_id,
            status=_CHILD_STATUS[workflow.status],
            output=loaded(draft, draft.execution.output, 0, "output"),
            reason=None if workflow.status.is_successful else reason,
            parent_epoch=workflow.parent_epoch,
        )
    )


def _start_failure_workflow(draft: Draft, status: WorkflowStatus, output: Payload) -> Payload:
    """Send the start of the failure workflow; note its id, or why not, in the output."""
    definition = draft.execution.graph.definition
    try:
        name = _failure_name(draft, definition.failure_workflow)
    except TemplateError as error:
        return _with_failure(output, str(error))
    if not name:
        return output
    pinned = draft.answer(NeedDefinition(name, definition.failure_workflow_version or 0))
    if pinned is None:
        return output
    if isinstance(pinned, Failure):
        return _with_failure(output, pinned.message)
    workflow = draft.workflow
    workflow_id = draft.new_id()
    draft.send(
        StartWorkflow(
            workflow_id=workflow_id,
            name=name,
            definition=pinned.definition,
            definition_version=pinned.version,
            input=_failure_input(draft, status, output),
            correlation_id=workflow.correlation_id,
            task_to_domain=workflow.task_to_domain,
        )
    )
    draft.put_workflow(failure_workflow_id=workflow_id)
    return _with_failure(output, workflow_id)


def _failure_name(draft: Draft, name: str | None) -> str | None:
    """Return the name; ``$workflow.input.x`` reads it from the input (semantics.md d.9).

    An expression ``${...}`` is resolved; OSS would look for the input ``x}`` and start nothing.

    Raises:
        TemplateError: The expression exceeds a limit.
    """
    if name and "${" in name:
        resolved = compile_template(name).resolve(RunScope(draft))
        return None if resolved is None else str(resolved)
    if not name or not name.startswith("$"):
        return name
    parts = name.split(".")
    values = loaded(draft, draft.execution.input, 0, "input").value
    found = values.get(parts[2]) if len(parts) > 2 and isinstance(values, dict) else None
    return None if found is None else str(found)


def _with_failure(output: Payload, text: str) -> Payload:
    value = output.value
    base = value if isinstance(value, dict) else {}
    return Payload.of({**base, "conductor.failure_workflow": text})


def _failure_input(draft: Draft, status: WorkflowStatus, output: Payload) -> Payload:
    """Return the input of the failure workflow.

    The original input, and what went wrong. ``failed_workflow_id`` and ``failure_reason`` are
    what the firmware definitions read; OSS never supplies them (sources S2.2).
    """
    execution, workflow = draft.execution, draft.workflow
    original = loaded(draft, execution.input, 0, "input").value
    return Payload.of(
        {
            **(original if isinstance(original, dict) else {}),
            "workflowId": workflow.workflow_id,
            "reason": workflow.reason,
            "failureStatus": status.value,
            "failureTaskId": workflow.failed_task_id,
            "failedWorkflow": _failed_workflow(draft, output),
            "failed_workflow_id": workflow.workflow_id,
            "failure_reason": workflow.reason,
        }
    )


def _failed_workflow(draft: Draft, output: Payload) -> dict[str, Any]:
    """Return the failed run as its failure workflow sees it: its own payloads and its tasks'.

    Whatever is not in memory is asked for, so that it does not matter what is. Source:
    semantics.md d.9, a.5; of Conductor's WorkflowModel it lacks the definition.
    """
    execution, workflow = draft.execution, draft.workflow
    part = _within_limit(draft)
    own = {
        "input": part(execution.input, 0, "input"),
        "output": part(output, 0, "output"),
        "variables": part(execution.variables, 0, "variables"),
    }
    return {
        "workflowId": workflow.workflow_id,
        "workflowName": workflow.name,
        "workflowVersion": workflow.definition_version,
        "status": workflow.status.value,
        "correlationId": workflow.correlation_id,
        "priority": workflow.priority,
        "parentWorkflowId": workflow.parent_id,
        "parentWorkflowTaskId": workflow.parent_task_id,
        "taskToDomain": workflow.task_to_domain,
        "reasonForIncompletion": workflow.reason,
        "failedTaskId": workflow.failed_task_id,
        "failedReferenceTaskNames": list(workflow.failed_references),
        "failedTaskNames": list(workflow.failed_names),
        "createTime": workflow.created_at_ms,
        "endTime": workflow.ended_at_ms,
        **own,
        "tasks": [_failed_task(draft, task, part) for task in execution.in_order()],
    }


def _failed_task(draft: Draft, task: Task, part: _Part) -> dict[str, Any]:
    execution = draft.execution
    return {
        "taskId": task.task_id,
        "referenceTaskName": task.reference_name,
        "taskType": task.task_type,
        "taskDefName": execution.graph.node_of(task).definition_name,
        "status": task.status.value,
        "seq": task.seq,
        "retryCount": task.retry_count,
        "retried": task.is_retried,
        "iteration": task.iteration,
        "scheduledTime": task.scheduled_at_ms,
        "startTime": task.started_at_ms,
        "endTime": task.ended_at_ms,
        "reasonForIncompletion": task.reason,
        "workerId": task.worker_id,
        "subWorkflowId": task.child_id,
        "inputData": part(execution.inputs.get(task.seq), task.seq, "input"),
        "outputData": part(execution.outputs.get(task.seq), task.seq, "output"),
    }


def _within_limit(draft: Draft) -> _Part:
    """Return what gives a payload's bytes, asking for those that are not in memory.

    One that would exceed ``FAILED_WORKFLOW_BYTES_MAX`` together with those before it is null.
    """
    left = FAILED_WORKFLOW_BYTES_MAX

    def part(payload: Payload | None, seq: int, name: str) -> msgspec.Raw | None:
        nonlocal left
        size_bytes = payload.size_bytes if payload is not None else 0
        if size_bytes > left:
            return None
        left -= size_bytes
        return msgspec.Raw(loaded(draft, payload, seq, name).raw or b"{}")

    return part
