"""Background loops that never die quietly, and the way a node stops.

A supervised loop that raises is logged, waited for with back-off and started again; its last
beat and its errors are visible in ``status``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from batuta.runtime.clock import pause

BACK_OFF_S = 0.1  # after the first failure of a loop; doubles up to BACK_OFF_S_MAX
BACK_OFF_S_MAX = 5.0
ASK_AGAIN_S = 1.0  # a loop that has not ended by then is cancelled once more

_log = logging.getLogger(__name__)

Loop = Callable[[Callable[[], None]], Awaitable[None]]
Facts = Callable[[], dict[str, Any]]
"""What a loop tells of itself, for `status`."""


class Supervisor:
    """Runs loops until it is stopped; ``now_ms`` dates their beats."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beats: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._facts: dict[str, Facts] = {}

    def start(self, name: str, loop: Loop, facts: Facts = dict) -> None:
        """Run ``loop`` for ever; it calls its argument once a pass. ``facts`` join its report."""
        self._beats[name] = self._now_ms()
        self._facts[name] = facts
        self._errors[name] = 0
        self._tasks[name] = asyncio.get_running_loop().create_task(self._run(name, loop))

    def report(self) -> dict[str, dict[str, Any]]:
        """Return, for each loop, how long ago it made a pass, how often it failed, its facts."""
        now_ms = self._now_ms()
        return {
            name: {
                "lastPassMsAgo": now_ms - beat,
                "errors": self._errors[name],
                **self._facts[name](),
            }
            for name, beat in self._beats.items()
        }

    async def stop(self) -> None:
        """End all loops and wait until they are gone.

        A loop is asked again when it goes on: with Python 3.11 ``asyncio.wait_for`` loses a
        cancellation that comes as what it waits for is done.
        """
        going = set(self._tasks.values())
        while going:
            for task in going:
                task.cancel()
            _, going = await asyncio.wait(going, timeout=ASK_AGAIN_S)
        self._tasks.clear()

    async def _run(self, name: str, loop: Loop) -> None:
        wait_s = BACK_OFF_S

        def beat() -> None:
            nonlocal wait_s
            self._beats[name] = self._now_ms()
            wait_s = BACK_OFF_S

        while True:
            try:
                await loop(beat)
            except Exception:  # noqa: BLE001  the loop's top: log, wait, go on (R7)
                self._errors[name] += 1
                _log.exception("loop %r failed; it starts again in %.1f s", name, wait_s)
            await pause(wait_s)
            wait_s = min(wait_s * 2, BACK_OFF_S_MAX)
