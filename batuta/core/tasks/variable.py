"""SET_VARIABLE: writes into the run's variables. Source: semantics.md c.9."""

from batuta.core.draft import Draft
from batuta.core.scope import loaded, task_input
from batuta.core.tasks.attempt import Attempt, create
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload

VARIABLES_BYTES_MAX = 256 * 1024  # Conductor's maxWorkflowVariablesPayloadSizeThreshold


def begin(draft: Draft, attempt: Attempt) -> None:
    """Lay the task's input over the variables; too large a result changes nothing and fails."""
    task = create(draft, attempt, started_at_ms=draft.now_ms)
    if task is None:
        return
    before = loaded(draft, draft.execution.variables, 0, "variables").value
    variables = Payload.of({**before, **task_input(draft, task).value})
    if variables.size_bytes > VARIABLES_BYTES_MAX:
        reason = (
            f"the variables would take {variables.size_bytes} bytes, more than "
            f"{VARIABLES_BYTES_MAX}; keep large values in task outputs"
        )
        draft.end(task, TaskStatus.FAILED_WITH_TERMINAL_ERROR, reason=reason)
        return
    draft.put_workflow(variables=variables)
    draft.end(task, TaskStatus.COMPLETED)
