"""Waiting longer and longer before trying again."""

from batuta.runtime.clock import pause

FIRST_S = 0.05
LAST_S = 2.0  # a server that comes back is found again within this time


class Backoff:
    """The pauses of one series of attempts."""

    def __init__(self, first_s: float = FIRST_S, last_s: float = LAST_S) -> None:
        self._first_s = first_s
        self._next_s = first_s
        self._last_s = last_s

    def reset(self) -> None:
        """Begin anew: an attempt has succeeded."""
        self._next_s = self._first_s

    async def wait(self) -> None:
        """Wait; twice as long as the last time, up to the limit."""
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, self._last_s)
        await pause(wait_s)
