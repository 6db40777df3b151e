"""How often a node is tried, from semantics.md d.1 to d.5."""

from collections.abc import Mapping
from dataclasses import dataclass

from batuta.model.definition import TaskDef, TaskTimeoutPolicy, WorkflowTask
from batuta.model.execution import TaskStatus

_NEVER = frozenset(
    {"DECISION", "SWITCH", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN", "EXCLUSIVE_JOIN", "DO_WHILE"}
)
_SECOND_MS = 1_000


@dataclass(frozen=True)
class Policy:
    """The limits of a node's attempts."""

    retries: int
    delay_seconds: int
    timeout_policy: TaskTimeoutPolicy
    total_seconds: int

    def may_retry(self, status: TaskStatus, retry: int) -> bool:
        """Say whether another attempt follows."""
        return status.is_retriable and retry < self.retries

    def ends_run(self, status: TaskStatus, reason: str) -> bool:
        """Say whether a timeout ends the run whatever attempts are left."""
        is_response = reason.startswith("responseTimeout")
        is_timeout = status is TaskStatus.TIMED_OUT and not is_response
        return is_timeout and self.timeout_policy is TaskTimeoutPolicy.TIME_OUT_WF

    def is_total_over(self, elapsed_ms: int) -> bool:
        """Say whether all attempts together took too long."""
        return bool(self.total_seconds) and elapsed_ms >= self.total_seconds * _SECOND_MS


def policy_of(node: WorkflowTask, task_defs: Mapping[str, TaskDef]) -> Policy:
    """Return a node's policy: its own words first, then its task definition's."""
    found = task_defs.get(node.name)
    if found is None:
        is_simple = node.type == "SIMPLE"
        found = TaskDef(name=node.name, retry_count=3 if is_simple else 0)
    retries = found.retry_count if node.retry_count is None else node.retry_count
    delay = found.retry_delay_seconds if node.retry_delay_seconds is None else (
        node.retry_delay_seconds
    )  # fmt: skip
    return Policy(
        retries=0 if node.type in _NEVER else retries,
        delay_seconds=delay,
        timeout_policy=found.timeout_policy,
        total_seconds=found.total_timeout_seconds,
    )
