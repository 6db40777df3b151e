"""How the attempts of a node are retried and timed out, once all defaults are applied."""

import msgspec

from batuta.model.definition import RetryLogic, TaskDef, TaskTimeoutPolicy, WorkflowTask
from batuta.model.limit import Limit

SECOND_MS = 1_000
DELAY_SECONDS_MAX = 2**31 - 1  # where Conductor's int arithmetic saturates (semantics.md d.1)
_DEFAULT = TaskDef()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a node's attempts, in ms; 0 means no limit."""

    retry_count: int
    retry_logic: RetryLogic
    retry_delay_ms: int
    backoff_scale_factor: int
    retry_delay_ms_max: int
    backoff_jitter_ms: int
    response_timeout_ms: int
    timeout_ms: int
    timeout_policy: TaskTimeoutPolicy
    poll_timeout_ms: int
    total_timeout_ms: int
    start_delay_ms: int
    is_optional: bool
    is_permissive: bool
    has_timers: bool  # one of its limits is kept by a timer; most policies have none
    limit_key: str = ""  # under which workers' hands are counted; "" = they are not

    @property
    def lease_limit_ms(self) -> int:
        """How long workers may take in all, 0 = no limit: ALERT_ONLY takes nothing away."""
        is_enforced = self.timeout_policy is not TaskTimeoutPolicy.ALERT_ONLY
        return self.timeout_ms if is_enforced else 0


def policy_of(task: WorkflowTask, task_def: TaskDef | None, *, is_worker: bool) -> Policy:
    """Merge a node's overrides, its task definition and Conductor's defaults.

    An unregistered worker task runs with the defaults of a TaskDef (3 retries, 60 s delay); a
    system task without one has no retries. Source: gotchas.md 14, semantics.md c.2.
    """
    found = task_def or _DEFAULT
    retry_count = found.retry_count if task_def or is_worker else 0
    timeout_seconds = _first(task.timeout_seconds, found.timeout_seconds)
    response_seconds = _first(task.response_timeout_seconds, found.response_timeout_seconds)
    delay_seconds = _first(task.retry_delay_seconds, found.retry_delay_seconds)
    is_enforced = found.timeout_policy is not TaskTimeoutPolicy.ALERT_ONLY
    total_seconds = found.total_timeout_seconds
    poll_seconds = found.poll_timeout_seconds or 0
    return Policy(
        retry_count=_first(task.retry_count, retry_count),
        retry_logic=task.retry_logic or found.retry_logic,
        retry_delay_ms=delay_seconds * SECOND_MS,
        backoff_scale_factor=found.backoff_scale_factor,
        retry_delay_ms_max=found.max_retry_delay_seconds * SECOND_MS,
        backoff_jitter_ms=found.backoff_jitter_ms,
        response_timeout_ms=response_seconds * SECOND_MS,
        timeout_ms=timeout_seconds * SECOND_MS,
        timeout_policy=found.timeout_policy,
        poll_timeout_ms=poll_seconds * SECOND_MS,
        total_timeout_ms=total_seconds * SECOND_MS,
        start_delay_ms=task.start_delay * SECOND_MS,
        is_optional=task.optional,
        is_permissive=task.permissive,
        limit_key=found.name if is_limited(found) else "",
        has_timers=is_enforced and max(timeout_seconds, poll_seconds, total_seconds) > 0,
    )


def is_limited(task_def: TaskDef) -> bool:
    """Say whether a definition limits how many of its tasks are held or taken."""
    return (task_def.concurrent_exec_limit or 0) > 0 or task_def.rate_limit_per_frequency > 0


def limit_of(task_def: TaskDef | None) -> Limit | None:
    """Return the limit that a definition states; None for none."""
    if task_def is None or not is_limited(task_def):
        return None
    return Limit(
        held_max=max(task_def.concurrent_exec_limit or 0, 0),
        taken_max=max(task_def.rate_limit_per_frequency, 0),
        window_ms=max(task_def.rate_limit_frequency_in_seconds, 1) * SECOND_MS,
    )


def retry_delay_ms(policy: Policy, retry_count: int) -> int:
    """Return how long to wait after attempt ``retry_count`` (0 = the first) has failed.

    FIXED d; LINEAR d * scale * (n + 1); EXPONENTIAL d * 2^n, saturating; then the cap. Jitter
    is not in it. Source: semantics.md d.1.
    """
    match policy.retry_logic:
        case RetryLogic.FIXED:
            delay_ms = policy.retry_delay_ms
        case RetryLogic.LINEAR_BACKOFF:
            delay_ms = policy.retry_delay_ms * policy.backoff_scale_factor * (retry_count + 1)
        case RetryLogic.EXPONENTIAL_BACKOFF:
            delay_ms = policy.retry_delay_ms << min(retry_count, 31)
    delay_ms = min(delay_ms, DELAY_SECONDS_MAX * SECOND_MS)
    return min(delay_ms, policy.retry_delay_ms_max) if policy.retry_delay_ms_max else delay_ms


def _first(override: int | None, otherwise: int) -> int:
    return otherwise if override is None else override
