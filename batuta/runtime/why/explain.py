"""From facts to causes: why a run is not moving. No I/O, no clock.

Causes of the run itself come first, then the tasks that somebody outside or a time moves, then
what only waits for those (a JOIN, a loop, a sub-workflow), and last the limit of the whole.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from batuta.core.execution import CONTAINER_TYPES, Execution
from batuta.core.graph import SERVED_TYPES
from batuta.core.limits.policy import SECOND_MS
from batuta.model.definition import WorkflowTimeoutPolicy
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.limit import Limit, LimitUse, split_part
from batuta.runtime.why.cause import Cause, Code, instant, listed
from batuta.store.failing import Failing

ATTEMPTS_MAX = 20  # failed attempts told of an ended run, the newest

_REPORT = "POST /api/tasks/{run}/{reference}/COMPLETED, with the output as a JSON object"


class QueueFacts(msgspec.Struct, frozen=True):
    """A queue as this node sees it; ``is_polled``: a worker waits at it, or asked just now."""

    ready: int = 0
    leased: int = 0
    last_poll_at_ms: int = 0
    is_polled: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that the causes of one run are told from.

    ``children``: by the id of a sub-workflow's run its causes, None when there is no such run.
    A child without an entry was not looked at.
    """

    execution: Execution
    now_ms: int
    node_started_at_ms: int
    queues: Mapping[str, QueueFacts]
    failing: tuple[Failing, ...] = ()
    has_messages: bool = False
    children: Mapping[str, list[Cause] | None] = {}
    limits: Mapping[str, tuple[Limit | None, LimitUse]] = {}  # by key


def explain(facts: Facts) -> list[Cause]:
    """Return every cause, the most telling first; never empty."""
    workflow = facts.execution.workflow
    causes = [_failing(row, facts.execution.task(row.task_id)) for row in facts.failing]
    if workflow.status.is_terminal:
        return [*causes, *_ended(facts)]
    if workflow.status is WorkflowStatus.PAUSED:
        causes.append(_paused(facts))
    if facts.has_messages:
        message = "a message from another run is stored for this one and is being delivered"
        causes.append(Cause(code=Code.MESSAGE_UNDER_WAY, message=message))
    tasks = sorted(facts.execution.live_tasks(), key=_is_container)
    causes += [_task(facts, task) for task in tasks]
    if not causes:
        message = "nothing is in the way: the engine has the next step; look again in a second"
        causes.append(Cause(code=Code.SETTLING, message=message))
    return [*causes, *_limit(facts)]


def _is_container(task: Task) -> bool:
    return task.task_type in CONTAINER_TYPES or task.child_id is not None


def explain_absent(failing: Sequence[Failing], *, has_messages: bool) -> list[Cause] | None:
    """Return why a sub-workflow's run has not begun; None when nothing says that it will."""
    causes = [_failing(row, None) for row in failing]
    if has_messages:
        message = "the message that begins the run is stored and is being delivered"
        causes.append(Cause(code=Code.MESSAGE_UNDER_WAY, message=message))
    return causes or None


def _failing(row: Failing, task: Task | None) -> Cause:
    what = f"{row.kind} of task {task.reference_name!r}" if task else row.kind
    times = "once" if row.attempts == 1 else f"{row.attempts} times"
    cause = Cause(
        code=Code.QUARANTINED,
        message=f"{what} failed {times} and is quarantined: {row.error}",
        task_id=task.task_id if task else None,
        reference=task.reference_name if task else None,
        fix=(
            "read the server's log, remove the reason, then `batuta doctor --retry`, or "
            f"POST /api/batuta/quarantine/retry?workflowId={row.workflow_id}"
        ),
    )
    if row.retry_at_ms is None:
        return cause
    at = instant(row.retry_at_ms)
    return msgspec.structs.replace(
        cause,
        code=Code.FAILING,
        message=f"{what} failed and is tried again at {at}: {row.error}",
        until_ms=row.retry_at_ms,
        fix="read the server's log and remove the reason",
    )


def _ended(facts: Facts) -> Iterator[Cause]:
    execution, workflow = facts.execution, facts.execution.workflow
    because = f": {workflow.reason}" if workflow.reason else ""
    fix = f"remove the reason, then POST /api/workflow/{workflow.workflow_id}/retry"
    failed = execution.task(workflow.failed_task_id or "")
    yield Cause(
        code=Code.RUN_ENDED,
        message=f"the run is {workflow.status}{because}",
        task_id=workflow.failed_task_id,
        reference=failed.reference_name if failed else None,
        since_ms=workflow.ended_at_ms,
        fix=None if workflow.status.is_successful else fix,
    )
    if workflow.status.is_successful:
        return
    unsuccessful = [
        task
        for task in execution.in_order()
        if task.status.is_terminal
        and not task.status.is_successful
        and task.status is not TaskStatus.CANCELED
    ]
    for task in unsuccessful[-ATTEMPTS_MAX:]:
        why = f": {task.reason}" if task.reason else ""
        by = f" by worker {task.worker_id!r}" if task.worker_id else ""
        yield Cause(
            code=Code.ATTEMPT_FAILED,
            message=f"{_attempt(facts, task)} of {task.reference_name!r}: {task.status}{by}{why}",
            task_id=task.task_id,
            reference=task.reference_name,
            since_ms=task.ended_at_ms,
        )


def _attempt(facts: Facts, task: Task) -> str:
    count = facts.execution.graph.node_of(task).policy.retry_count
    return f"attempt {task.retry_count + 1} of {max(count, task.retry_count) + 1}"


def _paused(facts: Facts) -> Cause:
    workflow = facts.execution.workflow
    return Cause(
        code=Code.RUN_PAUSED,
        message="the run is paused: what workers hold goes on, nothing new is scheduled",
        fix=f"PUT /api/workflow/{workflow.workflow_id}/resume",
    )


def _limit(facts: Facts) -> Iterator[Cause]:
    definition, workflow = facts.execution.graph.definition, facts.execution.workflow
    is_enforced = definition.timeout_policy is WorkflowTimeoutPolicy.TIME_OUT_WF
    if definition.timeout_seconds <= 0 or not is_enforced:
        return
    since_ms = workflow.last_retried_at_ms or workflow.created_at_ms
    until_ms = since_ms + definition.timeout_seconds * SECOND_MS
    message = f"the run is ended as TIMED_OUT at {instant(until_ms)}, whatever it waits for"
    yield Cause(code=Code.RUN_LIMIT, message=message, since_ms=since_ms, until_ms=until_ms)


def _task(facts: Facts, task: Task) -> Cause:
    """Name the cause of one open task: who has it, or what it waits for."""
    if task.task_id in facts.execution.leases:
        return _leased(facts, task)
    if task.due_at_ms and task.status is TaskStatus.SCHEDULED:
        return _delayed(facts, task)
    if task.queue is not None:
        return _queued(facts, task, task.queue)
    node = facts.execution.graph.node_of(task)
    match node.type:
        case "JOIN" | "EXCLUSIVE_JOIN":
            return _join(facts, task)
        case "DO_WHILE":
            message = f"loop {task.reference_name!r} is in pass {task.iteration}"
            return _about(task, Code.LOOP_PASS, message)
        case "DAG":
            return _dag(facts, task)
        case "SUB_WORKFLOW":
            return _child(facts, task)
        case "WAIT":
            return _wait(facts, task)
        case "EVENT":
            since = instant(task.started_at_ms)
            message = f"the message of {task.reference_name!r} was published at {since}"
            message += ", and somebody is to report (asyncComplete)"
            return _about(task, Code.WAIT_FOR_REPORT, message, fix=_report(facts, task))
        case "HUMAN":
            since = instant(task.started_at_ms)
            message = f"human task {task.reference_name!r} is open since {since}"
            return _about(task, Code.HUMAN_OPEN, message, fix=_report(facts, task))
        case _ if node.is_worker:
            message = f"{task.reference_name!r} was begun by its worker and waits for a report"
            return _about(task, Code.PARKED, message, fix=_report(facts, task))
        case _:
            message = f"{task.reference_name!r} is the engine's own next step; look again"
            return _about(task, Code.SETTLING, message)


def _about(  # the fields of a cause
    task: Task, code: Code, message: str, *, since_ms: int = 0, until_ms: int = 0, **more: str
) -> Cause:
    return Cause(
        code=code,
        message=message,
        task_id=task.task_id,
        reference=task.reference_name,
        since_ms=since_ms or task.started_at_ms or task.scheduled_at_ms,
        until_ms=until_ms,
        fix=more.get("fix"),
        queue=more.get("queue"),
    )


def _report(facts: Facts, task: Task) -> str:
    workflow_id = facts.execution.workflow.workflow_id
    return _REPORT.format(run=workflow_id, reference=task.reference_name)


def _leased(facts: Facts, task: Task) -> Cause:
    lease = facts.execution.leases[task.task_id]
    worker = f"worker {lease.worker_id!r}" if lease.worker_id else "a worker without a name"
    until = instant(lease.expires_at_ms)
    is_over = lease.expires_at_ms <= facts.now_ms
    tense = f"its lease ended at {until}, it is taken back" if is_over else f"until {until}"
    return _about(
        task,
        Code.LEASED,
        f"{task.reference_name!r} is held by {worker}, {tense} unless it reports",
        since_ms=lease.started_at_ms,
        until_ms=lease.expires_at_ms,
        queue=split_part(lease.queue)[0],
        fix="look at that worker; if it has gone, the task is tried again when the lease ends",
    )


def _delayed(facts: Facts, task: Task) -> Cause:
    """Tell a retry from a worker's wish to be asked later, and both from a start delay."""
    at = instant(task.due_at_ms)
    name = repr(task.reference_name)
    if task.poll_count:
        code, message = Code.CALLBACK_AT, f"the worker of {name} asked to go on at {at}"
    elif task.retry_count:
        count = facts.execution.graph.node_of(task).policy.retry_count
        why = f"; the attempt before: {task.reason}" if task.reason else ""
        code = Code.RETRY_AT
        message = f"retry {task.retry_count}/{count} of {name} is at {at}{why}"
    else:
        code, message = Code.START_AT, f"{name} starts at {at}, after its startDelay"
    return _about(task, code, message, since_ms=task.scheduled_at_ms, until_ms=task.due_at_ms)


def _limited(facts: Facts, task: Task, queue: str, key: str) -> Cause | None:
    """Say that a limit keeps the task in its queue; None when it has room."""
    limit, use = facts.limits.get(key, (None, LimitUse(held=0, taken=0)))
    if limit is None:
        return None
    told = []
    if 0 < limit.held_max <= use.held:
        told.append(f"workers hold {use.held} of at most {limit.held_max} (concurrentExecLimit)")
    if 0 < limit.taken_max <= use.taken:
        window = f"{limit.window_ms // SECOND_MS} s"
        most = f"at most {limit.taken_max} in {window} (rateLimitPerFrequency)"
        told.append(f"{use.taken} were taken of {most}")
    if not told:
        return None
    name = repr(task.reference_name)
    return _about(
        task,
        Code.LIMIT_REACHED,
        f"{name} waits for room under the limit of task definition {key!r}: {'; '.join(told)}",
        since_ms=task.due_at_ms or task.updated_at_ms,
        queue=queue,
        fix=f"it goes on by itself; to have more at once, raise the limit of {key!r}",
    )


def _queued(facts: Facts, task: Task, queue: str) -> Cause:
    key = facts.execution.graph.node_of(task).policy.limit_key
    limited = _limited(facts, task, queue, key) if key else None
    if limited is not None:
        return limited
    known = facts.queues.get(queue, QueueFacts())
    others = max(known.ready - 1, 0)
    name = repr(task.reference_name)
    fix = f"start a worker that polls {queue!r}, and see that it reaches this server"
    if task.domain and facts.queues.get(queue.removeprefix(f"{task.domain}:"), known).is_polled:
        fix = f"workers poll the type without a domain: start one with domain {task.domain!r}"
    elif queue in SERVED_TYPES:
        fix = "the server does these itself: its log says why it does not"
    since_ms = task.due_at_ms or task.updated_at_ms
    if known.is_polled:
        code = Code.IN_QUEUE
        message = (
            f"{name} waits in queue {queue!r} with {others} others; "
            f"workers hold {known.leased} tasks of it"
        )
        fix = "start more workers of this type, if the queue does not get shorter"
    elif known.last_poll_at_ms:
        code = Code.NOT_POLLED
        last = instant(known.last_poll_at_ms)
        message = f"no worker has polled queue {queue!r} since {last}; {name} waits in it"
        since_ms = known.last_poll_at_ms
    else:
        code = Code.NEVER_POLLED
        started = instant(facts.node_started_at_ms)
        message = (
            f"no worker has polled queue {queue!r} since this server was started at {started}; "
            f"{name} waits in it with {others} others"
        )
    return _about(task, code, message, since_ms=since_ms, queue=queue, fix=fix)


def _wait(facts: Facts, task: Task) -> Cause:
    name = repr(task.reference_name)
    if task.due_at_ms:
        message = f"{name} waits until {instant(task.due_at_ms)}, or for a report"
        return _about(
            task,
            Code.WAIT_UNTIL,
            message,
            until_ms=task.due_at_ms,
            fix=f"to go on sooner: {_report(facts, task)}",
        )
    message = f"{name} waits without a limit for somebody to report on it"
    return _about(task, Code.WAIT_FOR_REPORT, message, fix=_report(facts, task))


def _dag(facts: Facts, task: Task) -> Cause:
    """Say when the next node starts that waits for a delay, else which nodes are open."""
    name = repr(task.reference_name)
    if task.due_at_ms:
        message = f"the next node of DAG {name} starts at {instant(task.due_at_ms)}, after the "
        message += "delay of an edge"
        return _about(task, Code.START_AT, message, until_ms=task.due_at_ms)
    graph = facts.execution.graph
    inside = [t for t in facts.execution.live_tasks() if task.reference_name in graph.dags_of(t)]
    names = listed([repr(one.reference_name) for one in inside])
    return _about(task, Code.DAG_OPEN, f"DAG {name} has open nodes: {names}")


def _join(facts: Facts, task: Task) -> Cause:
    open_branches = []
    for name in dict.fromkeys(task.join_on):
        branch = facts.execution.latest_task(name)
        if branch is None:
            open_branches.append(f"{name!r} (not reached)")
        elif not branch.status.is_terminal:
            open_branches.append(f"{name!r} ({branch.status})")
    message = f"{task.task_type} {task.reference_name!r} waits for branches "
    return _about(task, Code.JOIN_WAITS, message + listed(open_branches))


def _child(facts: Facts, task: Task) -> Cause:
    child_id = task.child_id
    found = facts.children.get(child_id or "", [])
    if found is None:
        message = (
            f"the run {child_id} of sub-workflow {task.reference_name!r} is not there any more"
        )
        fix = _report(facts, task)
        cause = _about(task, Code.CHILD_MISSING, message, fix=fix)
    else:
        because = f": {found[0].message}" if found else ""
        message = f"sub-workflow {task.reference_name!r} waits for its run {child_id}{because}"
        cause = _about(task, Code.CHILD_RUNS, message)
    return msgspec.structs.replace(cause, child_id=child_id, causes=found or [])
