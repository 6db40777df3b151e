"""What reports, timers and ended leases do to a task. Source: semantics.md g, d.3 - d.7."""

from typing import Any

import msgspec

from batuta.core.draft import Draft
from batuta.core.ending import finish
from batuta.core.execution import Execution
from batuta.core.graph import Node
from batuta.core.limits.policy import SECOND_MS
from batuta.core.limits.timers import earliest_ms, kinds_of
from batuta.core.scope import task_output
from batuta.core.settle import gather
from batuta.core.tasks import start_late
from batuta.core.tasks.dag.container import wake
from batuta.core.tasks.wait import is_over
from batuta.model.change import AddLog
from batuta.model.command import (
    ChildEnded,
    ExpireLease,
    FireTimer,
    LogTask,
    TerminateWorkflow,
    TimerKind,
    UpdateReference,
    UpdateTask,
)
from batuta.model.definition import TaskTimeoutPolicy
from batuta.model.error import NotFoundError
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY, Payload

REASON_CHARACTERS_MAX = 500  # longer ones are cut, as OSS does (semantics.md a.7)
_OWN_TIME = frozenset({TimerKind.WAIT, TimerKind.ENQUEUE})  # their time is in the task record
LOG_LINES_MAX = 10  # of one update; OSS's taskExecLogSizeLimit


def update_task(draft: Draft, command: UpdateTask) -> None:
    """Take a worker's report: IN_PROGRESS gives the task back, anything else ends it.

    A report for an ended or superseded task changes nothing (gotchas.md 22).
    """
    task = draft.execution.task(command.task_id)
    if task is None:
        raise NotFoundError(f"workflow {command.workflow_id!r} has no task {command.task_id!r}")
    if task.status.is_terminal or draft.workflow.status.is_terminal:
        return
    for line in command.logs[:LOG_LINES_MAX]:
        draft.note(AddLog(task_id=task.task_id, created_at_ms=draft.now_ms, line=line))
    output = command.output
    if command.is_merged:
        output = _merged(draft, task, output)
    # The reason is that of this report: one carried over from the attempt before goes.
    changed: dict[str, Any] = {"reason": (command.reason or "")[:REASON_CHARACTERS_MAX] or None}
    if command.worker_id:
        changed["worker_id"] = command.worker_id
    if command.status.is_terminal:
        draft.end(task, command.status, output=output, **changed)
    elif task.queue is None:
        draft.put(task, output=output, **changed)  # of our own types: stays (gotchas.md 21)
    elif command.is_parked:
        _park(draft, draft.put(draft.release(task), output=output, **changed))
    else:
        task = draft.put(draft.release(task), output=output, **changed)
        _give_back(draft, task, command.callback_after_ms)


def open_task(execution: Execution, name: str) -> Task | None:
    """Return the task that a reference name stands for in a report, None when none is open."""
    exact = execution.latest_task(name)
    if exact is not None and not exact.status.is_terminal:
        return exact
    return next((task for task in execution.live_tasks() if task.node_name == name), None)


def update_reference(draft: Draft, command: UpdateReference) -> None:
    """Report on the open task of a reference name, bare or with its loop suffix; merge output.

    Source: TaskServiceImpl.updateTask; the first open exact name, else the first open one
    whose name without the loop suffix matches.
    """
    name = command.reference_name
    task = open_task(draft.execution, name)
    if task is None:
        raise NotFoundError(
            f"workflow {command.workflow_id!r} has no open task {name!r}; it has ended or has "
            "not been reached"
        )
    update_task(
        draft,
        UpdateTask(
            workflow_id=command.workflow_id,
            task_id=task.task_id,
            status=command.status,
            output=command.output,
            is_merged=True,
            worker_id=command.worker_id,
        ),
    )


def log_task(draft: Draft, command: LogTask) -> None:
    """Append a line to a task's log, whatever its status."""
    if draft.execution.task(command.task_id) is None:
        raise NotFoundError(f"workflow {command.workflow_id!r} has no task {command.task_id!r}")
    draft.note(AddLog(task_id=command.task_id, created_at_ms=draft.now_ms, line=command.line))


def child_ended(draft: Draft, command: ChildEnded) -> None:
    """Take a child's end; one of a superseded attempt is dropped (gotchas.md 39).

    So is one that crossed this run's retry: the child tells its end again, or goes on.
    """
    task = draft.execution.task(command.task_id)
    if task is None or task.child_id != command.child_id or task.status.is_terminal:
        return
    if command.parent_epoch != task.child_epoch:
        return
    # Whatever the child gives, this stays the id of the task's own child.
    output = _merged(draft, task, command.output, kept="subWorkflowId")
    draft.end(task, command.status, output=output, reason=command.reason)


def fire_timer(draft: Draft, command: FireTimer) -> None:
    """Do what a due timer is for; one whose task has ended is moot."""
    if command.kind is TimerKind.CONTINUE:
        draft.clear_timer(TimerKind.CONTINUE)
        gather(draft)
        return
    if draft.workflow.status.is_terminal:
        return
    if command.kind is TimerKind.WORKFLOW_TIMEOUT:
        _time_out_workflow(draft)
        return
    task = draft.execution.task(command.task_id)
    if task is None or task.status.is_terminal:
        return
    if command.kind in _OWN_TIME and not 0 < task.due_at_ms <= draft.now_ms:
        return  # it has fired before, or a later one has replaced it
    if command.kind is TimerKind.WAIT and task.task_type == "DAG":
        wake(draft, task)
    elif command.kind is TimerKind.WAIT:
        is_over(draft, task)
    elif command.kind is TimerKind.ENQUEUE:
        draft.clear_timer(TimerKind.ENQUEUE, task)
        start_late(draft, draft.put(task, due_at_ms=0))
    else:
        _time_out_task(draft, task, command.kind)


def expire_lease(draft: Draft, command: ExpireLease) -> None:
    """End a task whose worker kept silent for too long, or took too long in all.

    A missed response time is always TIMED_OUT and tried again, whatever timeoutPolicy says
    (gotchas.md 26); timeoutSeconds obeys the policy.
    """
    task = draft.execution.task(command.task_id)
    lease = draft.execution.leases.get(command.task_id)
    if task is None or lease is None or lease.poll_count != command.poll_count:
        return
    if lease.expires_at_ms > draft.now_ms:
        return
    node = draft.execution.graph.node_of(task)
    is_over_time = lease.timeout_ms and draft.now_ms >= lease.started_at_ms + lease.timeout_ms
    if is_over_time:
        seconds = lease.timeout_ms // SECOND_MS
        reason = f"Task timed out after {seconds} seconds. Timeout policy configured to "
        reason += node.policy.timeout_policy
        _end_by_policy(draft, task, node, reason, expired_at_ms=draft.now_ms)
        return
    seconds = lease.lease_ms // SECOND_MS
    reason = f"responseTimeout: {seconds} exceeded for the taskId: {task.task_id} with Task "
    reason += f"Definition: {node.definition_name}"
    draft.end(task, TaskStatus.TIMED_OUT, reason=reason, expired_at_ms=draft.now_ms)


def _give_back(draft: Draft, task: Task, callback_after_ms: int) -> None:
    """Make a worker task ready again after an IN_PROGRESS report, now or after its callback.

    Its time to be polled starts anew; its timeoutSeconds goes on from the first poll.
    """
    policy = draft.execution.graph.node_of(task).policy
    if task.due_at_ms:
        draft.clear_timer(TimerKind.ENQUEUE, task)
    due_at_ms = draft.now_ms + callback_after_ms if callback_after_ms > 0 else 0
    task = draft.put(task, callback_after_ms=callback_after_ms, due_at_ms=due_at_ms)
    if policy.has_timers:
        if policy.timeout_ms and task.poll_count:
            limit_at_ms = task.started_at_ms + policy.timeout_ms
            draft.set_timer(TimerKind.TASK_TIMEOUT, limit_at_ms, task)
        if policy.poll_timeout_ms:
            poll_until_ms = draft.now_ms + callback_after_ms + policy.poll_timeout_ms
            draft.set_timer(TimerKind.POLL_TIMEOUT, poll_until_ms, task)
    if due_at_ms:
        draft.set_timer(TimerKind.ENQUEUE, due_at_ms, task)
    else:
        draft.enqueue(task, policy)


def _park(draft: Draft, task: Task) -> None:
    """Leave a worker task open without a queue: only a report or timeoutSeconds ends it.

    Source: asyncComplete of AsyncSystemTaskExecutor, semantics.md c.9 and d.5.
    """
    policy = draft.execution.graph.node_of(task).policy
    if task.due_at_ms:
        draft.clear_timer(TimerKind.ENQUEUE, task)
    if policy.has_timers and policy.poll_timeout_ms:
        draft.clear_timer(TimerKind.POLL_TIMEOUT, task)
    task = draft.put(
        task,
        status=TaskStatus.IN_PROGRESS,
        queue=None,
        due_at_ms=0,
        started_at_ms=task.started_at_ms or draft.now_ms,
    )
    if policy.has_timers and policy.timeout_ms:
        draft.set_timer(TimerKind.TASK_TIMEOUT, task.started_at_ms + policy.timeout_ms, task)


def _merged(
    draft: Draft, task: Task, output: Payload | None, *, kept: str | None = None
) -> Payload:
    """Lay ``output`` over the task's earlier one, but for the key ``kept``."""
    before = task_output(draft, task)
    if output is None or output == EMPTY:
        return before
    if before == EMPTY:
        return output
    members = _members(before)
    own = members.get(kept) if kept else None
    merged = {**members, **_members(output)}
    return Payload.of(merged if own is None else {**merged, kept: own})


def _members(payload: Payload) -> dict[str, msgspec.Raw]:
    """Return an object's members with their values as bytes."""
    assert payload.raw is not None, "a payload is loaded before it is merged"
    found: dict[str, msgspec.Raw] = msgspec.json.decode(payload.raw, type=dict[str, msgspec.Raw])
    return found


def _time_out_workflow(draft: Draft) -> None:
    definition = draft.execution.graph.definition
    workflow = draft.workflow
    limit = definition.timeout_seconds
    since_ms = draft.now_ms - (workflow.last_retried_at_ms or workflow.created_at_ms)
    if limit <= 0 or since_ms < limit * SECOND_MS:
        return
    reason = (
        f"Workflow timed out after {since_ms // SECOND_MS} seconds. Timeout configured as "
        f"{limit} seconds. Timeout policy configured to TIME_OUT_WF"
    )
    finish(draft, WorkflowStatus.TIMED_OUT, reason=reason)


def _time_out_task(draft: Draft, task: Task, kind: TimerKind) -> None:
    """Apply a limit whose timer fired; a poll timeout of a task in hand is moot."""
    node = draft.execution.graph.node_of(task)
    policy = node.policy
    if kind not in kinds_of(task, policy) or draft.now_ms < earliest_ms(kind, task, policy):
        return
    if kind is TimerKind.POLL_TIMEOUT:
        if task.task_id in draft.execution.leases:
            draft.clear_timer(kind, task)
            return
        # Its time counts from when it was ready: a delay may have ended late, or begun anew.
        due_at_ms = (task.due_at_ms or task.updated_at_ms) + policy.poll_timeout_ms
        if draft.now_ms < due_at_ms:
            draft.set_timer(kind, due_at_ms, task)
            return
    limit_ms, name = {
        TimerKind.POLL_TIMEOUT: (policy.poll_timeout_ms, "poll timed out"),
        TimerKind.TOTAL_TIMEOUT: (policy.total_timeout_ms, "total timed out"),
    }.get(kind, (policy.timeout_ms, "timed out"))
    reason = (
        f"Task {name} after {limit_ms // SECOND_MS} seconds. Timeout policy configured to "
        f"{policy.timeout_policy}"
    )
    _end_by_policy(draft, task, node, reason)


def _end_by_policy(
    draft: Draft, task: Task, node: Node, reason: str, *, expired_at_ms: int | None = None
) -> None:
    """End a task that took too long: RETRY goes on by retries, TIME_OUT_WF ends the run."""
    task = draft.end(task, TaskStatus.TIMED_OUT, reason=reason, expired_at_ms=expired_at_ms)
    if task.child_id:
        # Its answer would be dropped: nobody waits for it any more.
        draft.send(
            TerminateWorkflow(workflow_id=task.child_id, reason=reason, task_id=task.task_id)
        )
    if node.policy.timeout_policy is TaskTimeoutPolicy.TIME_OUT_WF:
        why = f"Task {task.task_id} failed with status: TIMED_OUT and reason: '{reason}'"
        finish(draft, WorkflowStatus.TIMED_OUT, reason=why, failed=task)
