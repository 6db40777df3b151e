"""When a row whose command failed is tried again. Pure."""

from batuta.store.failing import Failing

FAILURES_MAX = 5  # then a row is quarantined until somebody re-arms it
BACK_OFF_MS = 1_000  # after the first failure; doubles


def failed_again(
    row: Failing, error: Exception, now_ms: int, *, is_hopeless: bool = False
) -> Failing:
    """Return the row after one more failure.

    Args:
        row: As it was when its command was tried.
        is_hopeless: Trying again would fail alike: it is quarantined at once.
    """
    attempts = row.attempts + 1
    is_over = is_hopeless or attempts >= FAILURES_MAX
    return Failing(
        workflow_id=row.workflow_id,
        kind=row.kind,
        task_id=row.task_id,
        mark=row.mark,
        attempts=attempts,
        error=str(error) or repr(error),
        retry_at_ms=None if is_over else now_ms + (BACK_OFF_MS << row.attempts),
    )
