"""Which functions of the Python SDK's generated clients were called, and how they were answered.

Every function of those clients goes to the wire by `call_api`. It is observed there, from outside
and without a change to what it does; who called it stands in the frame above.
"""

import sys
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from conductor.client.http import async_rest, rest
from conductor.client.http.api_client import ApiClient
from conductor.client.http.async_api_client import AsyncApiClient

_REFUSALS = (rest.ApiException, async_rest.ApiException)
_SUFFIX = "_with_http_info"


class Ledger:
    """Client and function, with how often it was answered and which errors it was answered.

    Args:
        is_whole: All tests of the SDK are run, and the ledger is read when they have been.
    """

    def __init__(self, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self.answered: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.refused: defaultdict[tuple[str, str], set[int]] = defaultdict(set)

    def observe(self, patch: pytest.MonkeyPatch) -> None:
        """Note all calls from now on, until the patch is undone."""
        patch.setattr(ApiClient, "call_api", self._noted(ApiClient.call_api))
        patch.setattr(AsyncApiClient, "call_api", self._noted_async(AsyncApiClient.call_api))

    def _noted(self, call_api: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call_api)
        def call(*args: Any, **kwargs: Any) -> Any:
            who = _caller()
            try:
                answer = call_api(*args, **kwargs)
            except _REFUSALS as error:
                self.refused[who].add(error.status)
                raise
            self.answered[who] += 1
            return answer

        return call

    def _noted_async(self, call_api: Callable[..., Any]) -> Callable[..., Any]:
        async def finish(who: tuple[str, str], answer: Any) -> Any:
            try:
                data = await answer
            except _REFUSALS as error:
                self.refused[who].add(error.status)
                raise
            self.answered[who] += 1
            return data

        @wraps(call_api)
        def call(*args: Any, **kwargs: Any) -> Any:
            return finish(_caller(), call_api(*args, **kwargs))

        return call


def _caller() -> tuple[str, str]:
    """Name the generated function that called what called this."""
    frame = sys._getframe(2)
    client = type(frame.f_locals["self"]).__name__
    return client, frame.f_code.co_name.removesuffix(_SUFFIX)
