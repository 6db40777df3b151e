"""What is true of every run after every commit (RELIABILITY.md 2, by its numbers).

Each function takes the rows as stored and the shadow of the commit before, and yields what is
broken as (invariant, why).
"""

from collections import Counter
from collections.abc import Iterator

from batuta.core.execution import CONTAINER_TYPES
from batuta.core.limits.policy import DELAY_SECONDS_MAX, Policy
from batuta.model.definition import RetryLogic, WorkflowTimeoutPolicy
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.store.base import RunChanges
from tests.simulation.checks.shadow import REOPENING, Rows, Shadow, is_let_through

Broken = Iterator[tuple[str, str]]
_MOVES_ITSELF = frozenset({"SUB_WORKFLOW", "WAIT"})


def of_history(rows: Rows, shadow: Shadow, changes: RunChanges) -> Broken:
    """I1, I2, I3, I12, I37: what is over stays over; versions and entries have no gap."""
    kinds = {entry.kind for entry in changes.entries}
    may_reopen = bool(kinds & REOPENING)
    # A revival retires what a rerun is to do again behind a sub-workflow.
    before_epoch = shadow.workflow.epoch if shadow.workflow else 0
    may_retire = may_reopen and rows.workflow.epoch > before_epoch
    if changes.version_from != shadow.version:
        yield "I37", f"version {changes.version_from} was decided on, {shadow.version} is stored"
    if rows.workflow.version != shadow.version + len(changes.entries):
        yield "I37", f"version {rows.workflow.version} after {len(changes.entries)} commands"
    before, after = shadow.workflow, rows.workflow
    if before is not None and before.status.is_terminal and after.status is not before.status:
        is_ended_harder = after.status is WorkflowStatus.TERMINATED and "terminate" in kinds
        if not is_ended_harder and not (may_reopen and after.epoch > before.epoch):
            yield "I1", f"{before.status} became {after.status} by {sorted(kinds)}"
    for seq, task in shadow.tasks.items():
        now = rows.tasks.get(seq)
        if now is None and (may_retire or _is_dropped(rows, task)):
            continue
        if now is None:
            yield "I2", f"task {task.reference_name} disappeared by {sorted(kinds)}"
            continue
        if not task.status.is_terminal or may_reopen:
            continue
        if now.status is not task.status and not is_let_through(task, now):
            yield "I3", f"{task.reference_name}: {task.status} became {now.status}"
        if rows.outputs.get(seq) != shadow.outputs.get(seq):
            yield "I12", f"{task.reference_name} has ended, but its output changed"


def _is_dropped(rows: Rows, task: Task) -> bool:
    """Say whether a task is of a pass that the keepLastN of a loop around it does not keep."""
    node, passes = rows.graph.node_of(task), task.suffix.split("__")[1:]
    for depth, name in enumerate(node.loops):
        around = "".join(f"__{number}" for number in passes[:depth])
        loop = rows.latest.get(name + around)
        kept = rows.graph.nodes[name].task.input_parameters.get("keepLastN")
        if loop is None or (kept and int(passes[depth]) <= loop.iteration - kept):
            return True
    return False


def of_places(rows: Rows) -> Broken:
    """I4, I5, I6, I7: each live worker task is in one place; nothing ended is in any."""
    live = {task.task_id: task for task in rows.live}
    if rows.workflow.status.is_terminal and live:
        yield "I7", f"the run is {rows.workflow.status} and has live tasks: {_names(rows.live)}"
    for place, ids in (("queued", rows.ready), ("leased", rows.held)):
        for task_id in ids:
            if task_id not in live:
                yield "I7", f"an ended task is {place}: {_name(rows, task_id)}"
    for (task_id, kind), due_at_ms in rows.timers.items():
        if task_id and task_id not in live:
            yield "I7", f"an ended task has a {kind} timer: {_name(rows, task_id)}"
        if not task_id and kind == "WORKFLOW_TIMEOUT" and rows.workflow.status.is_terminal:
            yield "I7", "an ended run has a WORKFLOW_TIMEOUT timer"
        is_own = kind in {"WAIT", "ENQUEUE"} and task_id in live
        if is_own and live[task_id].due_at_ms != due_at_ms:
            yield "I6", f"{_name(rows, task_id)}: timer {due_at_ms}, its record says otherwise"
    for task in live.values():
        yield from _of_place(rows, task)
    definition = rows.graph.definition
    is_limited = (
        definition.timeout_seconds > 0
        and definition.timeout_policy is WorkflowTimeoutPolicy.TIME_OUT_WF
        and not rows.workflow.status.is_terminal
    )
    if is_limited and ("", "WORKFLOW_TIMEOUT") not in rows.timers:
        yield "I6", "a limited run has no WORKFLOW_TIMEOUT timer"


def _of_place(rows: Rows, task: Task) -> Broken:
    is_delayed = (task.task_id, "ENQUEUE") in rows.timers
    if task.queue is not None:
        places = (task.task_id in rows.ready) + (task.task_id in rows.held) + is_delayed
        if places != 1:
            yield "I4", f"{task.reference_name} is in {places} of queue, hands, timer"
    if task.due_at_ms and not is_delayed and (task.task_id, "WAIT") not in rows.timers:
        yield "I6", f"{task.reference_name} is due at {task.due_at_ms} but has no timer"
    policy = rows.graph.node_of(task).policy
    is_limited = policy.total_timeout_ms and policy.timeout_policy != "ALERT_ONLY"
    if is_limited and (task.task_id, "TOTAL_TIMEOUT") not in rows.timers:
        yield "I6", f"{task.reference_name} has no TOTAL_TIMEOUT timer"
    held = rows.held.get(task.task_id)
    # One that is polled when its timeoutSeconds are over has none left.
    if held and not held.lease.timeout_ms and held.lease.expires_at_ms <= held.lease.polled_at_ms:
        yield "I5", f"{task.reference_name}: its lease has no time"


def of_progress(rows: Rows) -> Broken:
    """I8, I9: a running run can move; one live attempt a reference name."""
    names = Counter(task.reference_name for task in rows.live)
    for name, count in names.items():
        if count > 1:
            yield "I9", f"{name} has {count} live attempts"
    if rows.workflow.status is not WorkflowStatus.RUNNING:
        return
    has_more = ("", "CONTINUE") in rows.timers
    # A DAG waits for the delay of an edge by a timer of its own: I6 sees to it.
    if not has_more and all(t.task_type in CONTAINER_TYPES and not t.due_at_ms for t in rows.live):
        yield "I8", f"RUNNING, and nothing can move it: {_names(rows.live) or 'no live task'}"
    if not has_more:
        for task in rows.tasks.values():
            is_done = task.is_executed or task.is_retried or task.status is TaskStatus.SKIPPED
            if task.status.is_terminal and not is_done:
                yield "I8", f"{task.reference_name} is {task.status} and nothing followed"


def of_attempts(rows: Rows, shadow: Shadow, kinds: set[str]) -> Broken:
    """I10: attempts are bounded and their delays are what the policy says."""
    for seq, task in rows.tasks.items():
        policy = rows.graph.node_of(task).policy
        if task.retry_count > policy.retry_count + shadow.reopened_count:
            yield "I10", f"{task.reference_name} is attempt {task.retry_count + 1}"
        if seq in shadow.tasks or not task.retried_task_id or shadow.reopened_count:
            continue
        if "reset_callbacks" in kinds:
            continue  # in the same batch
        expected_ms = delay_ms(policy, task.retry_count - 1)
        if expected_ms and task.callback_after_ms != expected_ms:
            yield "I10", f"{task.reference_name} waits {task.callback_after_ms}, not {expected_ms}"
        late_ms = task.due_at_ms - task.scheduled_at_ms - expected_ms
        if expected_ms and task.due_at_ms and not 0 <= late_ms <= policy.backoff_jitter_ms:
            yield "I10", f"{task.reference_name} is due after another delay than {expected_ms}"


def delay_ms(policy: Policy, failed_count: int) -> int:
    """Return the delay after a failed attempt, written anew from semantics.md d.1."""
    factor = {
        RetryLogic.FIXED: 1,
        RetryLogic.LINEAR_BACKOFF: policy.backoff_scale_factor * (failed_count + 1),
        RetryLogic.EXPONENTIAL_BACKOFF: 2**failed_count,
    }[policy.retry_logic]
    found = min(policy.retry_delay_ms * factor, DELAY_SECONDS_MAX * 1_000)
    return min(found, policy.retry_delay_ms_max) if policy.retry_delay_ms_max else found


def of_operators(rows: Rows) -> Broken:
    """I17, I18: joins, switches and loops go on exactly when and where they should."""
    latest = rows.latest
    is_settled = (
        rows.workflow.status is WorkflowStatus.RUNNING and ("", "CONTINUE") not in rows.timers
    )
    for task in rows.tasks.values():
        node = rows.graph.node_of(task)
        if task.task_type == "JOIN":
            branches = [latest.get(name) for name in task.join_on]
            is_open = [b is None or not _has_ended(b) for b in branches]
            is_done = task.status in {TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_ERRORS}
            # One that cannot move is ended, and let through when it is optional.
            is_stuck = "never reached" in (task.reason or "")
            if is_done and any(is_open) and not (is_stuck or _has_been_reopened(rows)):
                yield "I17", f"{task.reference_name} is {task.status} before its branches"
            if is_settled and not task.status.is_terminal and not any(is_open):
                yield "I17", f"{task.reference_name} waits, but all its branches have ended"
        elif node.type in {"SWITCH", "DECISION"} and task.is_executed:
            heads = [case[0] for case in node.task.decision_cases.values() if case]
            heads += node.task.default_case[:1]
            taken = {
                head.task_reference_name
                for head in heads
                if (first := latest.get(head.task_reference_name + task.suffix)) is not None
                and (first.is_executed or first.status is not TaskStatus.SKIPPED)  # not reached
            }
            # A rerun may begin with a task that was skipped in a case that was not taken.
            if len(taken) > 1 and not _has_been_reopened(rows):
                yield "I18", f"{task.reference_name} took {sorted(taken)}"
        elif node.type == "DO_WHILE" and task.iteration > 1:
            yield from _of_loop(rows, task)


def _of_loop(rows: Rows, loop: Task) -> Broken:
    for task in rows.live:
        before = [f"{loop.suffix}__{n}" for n in range(1, loop.iteration)]
        if loop.node_name in rows.graph.node_of(task).loops and task.suffix in before:
            yield "I18", f"{task.reference_name} is live in pass {loop.iteration}"


def _has_ended(task: Task) -> bool:
    """Say whether a task has ended; one that was skipped ends in its turn."""
    return task.status.is_terminal and (task.is_executed or task.status is not TaskStatus.SKIPPED)


def _has_been_reopened(rows: Rows) -> bool:
    return rows.workflow.epoch > 0


def _name(rows: Rows, task_id: str) -> str:
    return next((t.reference_name for t in rows.tasks.values() if t.task_id == task_id), task_id)


def _names(tasks: list[Task]) -> str:
    return ", ".join(f"{task.reference_name} ({task.status})" for task in tasks)
