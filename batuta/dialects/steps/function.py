"""The functions that steps call: the samples, and those of the operator.

Source: S3.5. A sample takes the time that it simulates; `delay_percent` of the host shortens it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from batuta.dialects.nest import moment
from batuta.runtime.clock import pause, wall_ms
from batuta.workers.function import TaskContext
from batuta.workers.system.target import Targets

HTTP = "http"
Function = Callable[[Any], Awaitable[Any]]


class StepError(Exception):
    """A step fails with this text."""


class _Sample(msgspec.Struct, frozen=True):
    """A function that simulates work: what it needs, what it adds, how long it takes."""

    takes_ms: int
    result: Callable[[dict[str, Any]], dict[str, Any]]


def _stamp() -> str:
    return moment(wall_ms())


def _validate(given: dict[str, Any]) -> dict[str, Any]:
    if not (given.get("email") and given.get("password")):
        raise StepError("Validation Error: Email and password are required.")
    return {**given, "validated": True, "validationTimestamp": _stamp()}


def _create(given: dict[str, Any]) -> dict[str, Any]:
    if not given.get("validated"):
        raise StepError("User data not validated before DB creation attempt.")
    return {**given, "userId": f"user_{wall_ms()}", "dbTimestamp": _stamp()}


def _welcome(given: dict[str, Any]) -> dict[str, Any]:
    if not (given.get("userId") and given.get("email")):
        raise StepError("Cannot send email without userId and email.")
    return {**given, "emailSent": True, "emailSentTimestamp": _stamp()}


_SAMPLES = {
    "validateUserData": _Sample(500, _validate),
    "createUserInDB": _Sample(1_000, _create),
    "sendWelcomeEmail": _Sample(700, _welcome),
    "logAnalytics": _Sample(300, lambda given: {**given, "analyticsLogged": True}),
    "makeExternalApiCall": _Sample(
        1_200,
        lambda given: {**given, "externalResponse": {"status": 200, "data": "mock_api_response"}},
    ),
}


class Functions:
    """Finds a function by name: the operator's go before the samples."""

    def __init__(
        self, own: Mapping[str, Callable[..., Any]], targets: Targets, *, delay_percent: int
    ) -> None:
        self._own = own
        self._targets = targets
        self._delay_percent = delay_percent

    async def call(self, name: str, given: Any, task: TaskContext) -> Any:
        """Return a function's result.

        Raises:
            StepError: No such function.
            Exception: Whatever the function raises.
        """
        own = self._own.get(name)
        if own is not None:
            if asyncio.iscoroutinefunction(own):
                return await own(given)
            return await asyncio.to_thread(own, given)
        sample = _SAMPLES.get(name)
        if sample is not None:
            await pause(sample.takes_ms * self._delay_percent / 100_000)
            return sample.result(given if isinstance(given, dict) else {})
        if name == HTTP:
            return await self._http(given, task)
        raise StepError(f'Simulated function "{name}" not found or not a function.')

    async def _http(self, given: Any, task: TaskContext) -> Any:
        """Call a URL: `uri` or `url`, `method`, `headers` and `body`, as an HTTP task does."""
        # It takes aiohttp, 0.4 s and 14 MB, which a server without such steps need not pay.
        from batuta.workers.system.perform import perform  # noqa: PLC0415

        request = dict(given) if isinstance(given, dict) else {}
        if "url" in request:
            request["uri"] = request.pop("url")
        outcome = await perform(TaskContext(task.job, {"http_request": request}), self._targets)
        if outcome.reason is not None:
            raise StepError(outcome.reason)
        return msgspec.json.decode(outcome.output or b"{}")["response"]
