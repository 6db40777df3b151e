"""How long attempts wait, and how a node's limits come about."""

import pytest

from batuta.core.limits.policy import DELAY_SECONDS_MAX, policy_of, retry_delay_ms
from batuta.model.definition import RetryLogic, TaskDef, TaskTimeoutPolicy, WorkflowTask

SECOND_MS = 1_000


def delays_ms(logic: RetryLogic, **fields: int) -> list[int]:
    task_def = TaskDef(retry_logic=logic, retry_delay_seconds=10, **fields)
    policy = policy_of(WorkflowTask(), task_def, is_worker=True)
    return [retry_delay_ms(policy, count) for count in (0, 1, 2, 40)]


@pytest.mark.parametrize(
    ("logic", "fields", "seconds"),
    [
        (RetryLogic.FIXED, {}, [10, 10, 10, 10]),
        (RetryLogic.LINEAR_BACKOFF, {"backoff_scale_factor": 2}, [20, 40, 60, 820]),
        (RetryLogic.EXPONENTIAL_BACKOFF, {}, [10, 20, 40, DELAY_SECONDS_MAX]),
        (RetryLogic.EXPONENTIAL_BACKOFF, {"max_retry_delay_seconds": 25}, [10, 20, 25, 25]),
        (RetryLogic.FIXED, {"max_retry_delay_seconds": 4}, [4, 4, 4, 4]),
    ],
)
def test_a_delay_grows_by_its_logic_up_to_its_limit(
    logic: RetryLogic, fields: dict[str, int], seconds: list[int]
) -> None:
    assert delays_ms(logic, **fields) == [second * SECOND_MS for second in seconds]


@pytest.mark.parametrize(("is_worker", "retry_count"), [(True, 3), (False, 0)])
def test_only_worker_tasks_are_retried_without_a_task_definition(
    *, is_worker: bool, retry_count: int
) -> None:
    assert policy_of(WorkflowTask(), None, is_worker=is_worker).retry_count == retry_count


def test_a_node_overrides_its_task_definition() -> None:
    task_def = TaskDef(retry_count=5, retry_delay_seconds=60, timeout_seconds=9)
    node = WorkflowTask(
        retry_count=1,
        retry_delay_seconds=2,
        retry_logic=RetryLogic.LINEAR_BACKOFF,
        timeout_seconds=7,
        response_timeout_seconds=6,
    )

    policy = policy_of(node, task_def, is_worker=True)

    assert policy.retry_count == 1
    assert retry_delay_ms(policy, 1) == 4 * SECOND_MS
    assert (policy.timeout_ms, policy.response_timeout_ms) == (7 * SECOND_MS, 6 * SECOND_MS)


@pytest.mark.parametrize(
    ("timeout_policy", "limit_ms"),
    [
        (TaskTimeoutPolicy.RETRY, 9 * SECOND_MS),
        (TaskTimeoutPolicy.TIME_OUT_WF, 9 * SECOND_MS),
        (TaskTimeoutPolicy.ALERT_ONLY, 0),
    ],
)
def test_a_lease_is_limited_by_the_task_timeout_unless_it_only_alerts(
    timeout_policy: TaskTimeoutPolicy, limit_ms: int
) -> None:
    task_def = TaskDef(timeout_seconds=9, timeout_policy=timeout_policy)

    assert policy_of(WorkflowTask(), task_def, is_worker=True).lease_limit_ms == limit_ms
