"""Does the task of a step: input by path, the function, the result into the payload."""

import logging
from typing import Any

import msgspec

from batuta.dialects.base import worker_of
from batuta.dialects.steps.function import Functions, StepError
from batuta.dialects.steps.lower import FUNCTION
from batuta.dialects.steps.path import value_at, with_result
from batuta.model.execution import TaskStatus
from batuta.workers.function import TaskContext, TaskFunction
from batuta.workers.outcome import Outcome

CONCURRENCY = 64  # steps of all instances at once; most of them wait for something

_log = logging.getLogger(__name__)


def step_function(functions: Functions) -> TaskFunction:
    """Make the worker of all steps."""

    async def do(task: TaskContext) -> Outcome:
        return await _run(task, functions)

    return worker_of(FUNCTION, do, concurrency=CONCURRENCY)


def given_of(told: dict[str, Any]) -> tuple[Any, Any]:
    """Return the payload that a step finds, and of it what its function is given."""
    states = [state for state in told.get("before") or () if state is not None]
    initial = told.get("initial")
    payload = states[0].get("payload") if states else initial
    steps = told.get("steps") or {}
    return payload, value_at(told.get("inputPath"), payload, initial=initial, steps=steps)


async def _run(task: TaskContext, functions: Functions) -> Outcome:
    told = task.input
    payload, given = given_of(told)
    try:
        result = await functions.call(told["functionName"], given, task)
        left = with_result(told.get("resultPath"), payload, result)
        output = {
            "input": given,
            "output": result,
            "status": "SUCCESS",
            "state": {"payload": left},
        }
        return Outcome(status=TaskStatus.COMPLETED, output=msgspec.json.encode(output))
    except StepError as error:
        return _failed(given, str(error))
    except Exception as error:  # noqa: BLE001  of a function that somebody else wrote
        _log.warning("function %r of a step failed", told["functionName"], exc_info=True)
        return _failed(given, str(error) or type(error).__name__)


def _failed(given: Any, message: str) -> Outcome:
    output = {"input": given, "status": "ERROR", "error": message}
    return Outcome(
        status=TaskStatus.FAILED_WITH_TERMINAL_ERROR,
        output=msgspec.json.encode(output),
        reason=message,
    )
