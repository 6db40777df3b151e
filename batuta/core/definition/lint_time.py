"""Lint of times: what is planned to take longer than the limit above it allows."""

from collections.abc import Iterator

from batuta.core.definition.durations import parse_duration_ms, parse_wait_time_ms
from batuta.core.definition.validate_types import Node
from batuta.core.definition.warning import Code, Warned
from batuta.core.graph import NAMED_BY_TYPE, SERVED_TYPES, SYSTEM_TYPES
from batuta.core.limits.policy import SECOND_MS, Policy, policy_of, retry_delay_ms
from batuta.model.definition import TaskDef, TaskTimeoutPolicy, WorkflowDef, WorkflowTimeoutPolicy
from batuta.model.error import InvalidError

ATTEMPTS_MAX = 10_000  # of a plan that are added up; a longer one exceeds any limit by then

_NEVER_RETRIED = NAMED_BY_TYPE | {"DO_WHILE"}  # semantics.md d.1


def time_warnings(node: Node, def_: WorkflowDef, task_def: TaskDef | None) -> Iterator[Warned]:
    """Find retry plans and WAITs longer than their limits, and timeouts that end the run."""
    task = node.task
    is_worker = task.type not in SYSTEM_TYPES
    policy = policy_of(task, task_def, is_worker=is_worker and task.type not in SERVED_TYPES)
    # A plan that nobody wrote down is Conductor's default: 3 retries, a minute apart.
    is_planned = task_def is not None or task.retry_count is not None
    if is_planned and task.type not in _NEVER_RETRIED:
        yield from _plan_warnings(node, def_, policy)
    is_enforced = policy.timeout_policy is not TaskTimeoutPolicy.ALERT_ONLY
    passes = policy.is_optional or policy.is_permissive
    if is_worker and policy.timeout_ms and is_enforced and not policy.retry_count and not passes:
        seconds = policy.timeout_ms // SECOND_MS
        yield Warned(
            node.path,
            Code.TIMEOUT_WITHOUT_RETRY,
            f"task {task.task_reference_name!r} has a timeout of {seconds} s and no retry: one "
            "slow worker ends the run; give it a retryCount, or make it optional",
        )
    if task.type == "WAIT":
        yield from _wait_warnings(node, def_)


def _plan_warnings(node: Node, def_: WorkflowDef, policy: Policy) -> Iterator[Warned]:
    if not policy.retry_count:
        return
    attempts = policy.retry_count + 1
    delays_ms = sum(
        retry_delay_ms(policy, count) for count in range(min(policy.retry_count, ATTEMPTS_MAX))
    )
    total_ms = delays_ms + attempts * policy.timeout_ms
    plan = f"{_seconds(delays_ms)} s between {attempts} attempts"
    if policy.timeout_ms:
        plan += f" of up to {_seconds(policy.timeout_ms)} s"
    name = f"task {node.task.task_reference_name!r}"
    above = "the workflow's timeoutSeconds"
    total_seconds = policy.total_timeout_ms // SECOND_MS
    lost = "its last attempts would not be made"
    is_alert = def_.timeout_policy is WorkflowTimeoutPolicy.ALERT_ONLY
    what = "which ends nothing, as its timeoutPolicy is ALERT_ONLY" if is_alert else lost
    limits = [
        (def_.timeout_seconds * SECOND_MS, f"{above} {def_.timeout_seconds}: {what}"),
        (policy.total_timeout_ms, f"its totalTimeoutSeconds {total_seconds}: {lost}"),
    ]
    for limit_ms, limit in limits:
        if 0 < limit_ms < total_ms:
            yield Warned(
                f"{node.path}.retryCount",
                Code.RETRY_EXCEEDS_LIMIT,
                f"the retry plan of {name} takes up to {_seconds(total_ms)} s ({plan}), more than "
                + limit,
            )


def _wait_warnings(node: Node, def_: WorkflowDef) -> Iterator[Warned]:
    limit_ms = def_.timeout_seconds * SECOND_MS
    if limit_ms <= 0:
        return
    for key in ("duration", "waitTime"):
        given = node.task.input_parameters.get(key)
        if given is None or (isinstance(given, str) and "${" in given):
            continue
        try:
            if key == "duration":
                wait_ms = parse_duration_ms(str(given))
            else:
                wait_ms = parse_wait_time_ms(given)
        except InvalidError:
            continue  # a fault, and reported as one
        if wait_ms > limit_ms:
            yield Warned(
                f"{node.path}.inputParameters.{key}",
                Code.WAIT_EXCEEDS_LIMIT,
                f"WAIT {node.task.task_reference_name!r} waits {_seconds(wait_ms)} s, more than "
                f"the workflow's timeoutSeconds {def_.timeout_seconds}: {_seconds(wait_ms)} > "
                f"{def_.timeout_seconds}",
            )


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / SECOND_MS:g}" if duration_ms % SECOND_MS else str(duration_ms // 1_000)
