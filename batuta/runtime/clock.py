"""Store time for one node, and the only place that reads the machine's clocks and chance.

Store time is max(last committed, wall time at start + time elapsed), slewed slowly to the wall
clock: a jump of the wall clock never makes timers fire early or go back (DESIGN.md 3.11).
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable

SLEW_MS_PER_S = 5  # how fast a wall clock that moved is followed: an hour takes eight days
JUMP_MS = 2_000  # a difference that is logged

_log = logging.getLogger(__name__)


def wall_ms() -> int:
    """Return the machine's wall clock, Unix ms."""
    return time.time_ns() // 1_000_000


def seeds() -> Callable[[], bytes]:
    """Return a source of 16 random bytes each call, itself seeded by the system.

    Ids need to differ, not to be secret; asking the system each time took 6 us of a command's 70.
    """
    generator = random.Random(os.urandom(32))  # noqa: S311  not for secrets
    return lambda: generator.randbytes(16)


async def pause(seconds: float) -> None:
    """Let ``seconds`` of the loop's time pass; under simulation that time is virtual."""
    await asyncio.sleep(seconds)


class StoreClock:
    """Monotonic Unix time in ms, shared by the committer, timers and queues of a node."""

    def __init__(
        self,
        *,
        wall: Callable[[], int] = wall_ms,
        monotonic: Callable[[], float] = time.monotonic,
        not_before_ms: int = 0,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._start_s = monotonic()
        self._offset_ms = max(wall(), not_before_ms)
        self._slewed_s = self._start_s
        self._last_ms = self._offset_ms

    def now_ms(self) -> int:
        """Return the time; never less than before."""
        now_s = self._monotonic()
        now_ms = self._offset_ms + int((now_s - self._start_s) * 1_000)
        if now_s - self._slewed_s >= 1:
            self._slew(now_s, now_ms)
        self._last_ms = max(self._last_ms, now_ms)
        return self._last_ms

    def _slew(self, now_s: float, now_ms: int) -> None:
        difference_ms = self._wall() - now_ms
        step_ms = int((now_s - self._slewed_s) * SLEW_MS_PER_S)
        self._slewed_s = now_s
        if abs(difference_ms) > JUMP_MS:
            _log.warning("the wall clock is %d ms off store time; following slowly", difference_ms)
        self._offset_ms += max(-step_ms, min(step_ms, difference_ms))
