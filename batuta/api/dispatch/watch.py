"""Hearing that a client hangs up, while its request waits for something else."""

import asyncio
from collections.abc import Callable

from batuta.api.request import Receive


class Watch:
    """Waits for the client's next message as a task would, without one; ``close`` ends it.

    A long poll has one: a task for it, and a second one to wait for both, cost more than the
    rest of an empty poll. After the body is read, whatever is heard says that the client went.

    Args:
        on_heard: Called once, in a later turn of the loop, if a message comes.
    """

    __slots__ = ("_heard", "_on_heard", "_step", "is_over")

    def __init__(self, receive: Receive, on_heard: Callable[[], object]) -> None:
        self._step = receive().__await__()
        self._on_heard = on_heard
        self._heard: asyncio.Future[object] | None = None
        self.is_over = False  # a message came, and ``on_heard`` was told, or needs not be
        try:
            self._heard = next(self._step)
        except StopIteration:
            self.is_over = True
        else:
            self._heard.add_done_callback(self._go_on)

    def has_heard(self) -> bool:
        """Say whether a message is here, told or not."""
        return self.is_over or (self._heard is not None and self._heard.done())

    def close(self) -> None:
        """Stop waiting; ``on_heard`` is not called any more."""
        if self._heard is not None:
            self._heard.remove_done_callback(self._go_on)
        self._step.close()

    def _go_on(self, _heard: object) -> None:
        """Take the message, or wait for what else the server waits for before it gives it."""
        try:
            self._heard = next(self._step)
        except StopIteration:
            self.is_over = True
            self._on_heard()
        else:
            self._heard.add_done_callback(self._go_on)
