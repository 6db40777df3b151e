"""How the call of a task function ended, as a report to the engine."""

import traceback
from typing import Any

import msgspec

from batuta.model.execution import TaskStatus
from batuta.workers.function import FatalError, InProgress

EMPTY_OUTPUT = b"{}"
NOTHING = (EMPTY_OUTPUT, None)  # outputs that cannot be why a report was refused
REASON_CHARACTERS_MAX = 2_000  # a reason is shown in lists; the traceback is in the log
TRACEBACK_CHARACTERS_MAX = 20_000


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The report on a task."""

    status: TaskStatus
    output: bytes | None = EMPTY_OUTPUT
    """A JSON object; None leaves what an earlier report gave."""
    reason: str | None = None
    callback_after_ms: int = 0
    logs: tuple[str, ...] = ()
    is_parked: bool = False
    """IN_PROGRESS, and not offered again: somebody else will report the end. In-process only."""


_DONE = Outcome(status=TaskStatus.COMPLETED)
GIVEN_BACK = Outcome(status=TaskStatus.IN_PROGRESS, output=None)


def of_result(result: Any, logs: tuple[str, ...] = ()) -> Outcome:
    """Say what a function returned; what JSON cannot hold is a failure that no retry mends."""
    if result is None and not logs:
        return _DONE
    if isinstance(result, Outcome):  # of our own workers, which decide all of it
        return msgspec.structs.replace(result, logs=(*result.logs, *logs))
    status, callback_after_ms, value = TaskStatus.COMPLETED, 0, result
    if isinstance(result, InProgress):
        status, callback_after_ms = TaskStatus.IN_PROGRESS, result.callback_after_ms
        value = result.output
    try:
        output = EMPTY_OUTPUT if value is None else msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        return Outcome(
            status=TaskStatus.FAILED_WITH_TERMINAL_ERROR,
            reason=f"the function returned what JSON cannot hold: {error}",
            logs=logs,
        )
    if not output.startswith(b"{"):
        output = b'{"result":' + output + b"}"
    return Outcome(status=status, output=output, callback_after_ms=callback_after_ms, logs=logs)


def of_error(error: BaseException, logs: tuple[str, ...] = ()) -> Outcome:
    """Say what a function raised; the traceback goes to the task's log."""
    if isinstance(error, FatalError):
        reason = str(error) or "the function gave no reason"
        return Outcome(
            status=TaskStatus.FAILED_WITH_TERMINAL_ERROR,
            reason=reason[:REASON_CHARACTERS_MAX],
            logs=logs,
        )
    text = "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS_MAX:]
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Outcome(
        status=TaskStatus.FAILED, reason=reason[:REASON_CHARACTERS_MAX], logs=(*logs, text)
    )


def refused(outcome: Outcome, answer: str) -> Outcome:
    """Say instead that the engine would not take the output: reporting it again cannot help."""
    return Outcome(
        status=TaskStatus.FAILED_WITH_TERMINAL_ERROR,
        reason=f"the report was refused: {answer}"[:REASON_CHARACTERS_MAX],
        logs=outcome.logs if len(outcome.logs) <= 1 else outcome.logs[:1],
    )
