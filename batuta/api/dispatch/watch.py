"""Hearing that a client hangs up, while its request waits for something else."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from batuta.api.request import ClientGoneError, Receive

T = TypeVar("T")


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` in this task, but not longer than the client waits: then it is cancelled.

    Raises:
        ClientGoneError: The client hung up first.
    """
    task = asyncio.current_task()
    assert task is not None, "a request runs in a task"
    watch = _Watch(receive, task.cancel)
    if watch.has_heard():
        work.close()
        raise ClientGoneError("the client hung up before its request was begun")
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.has_heard() or task.uncancel():
            raise
        raise ClientGoneError("the client hung up while it waited") from None
    finally:
        watch.close()


class _Watch:
    """Waits for the client's next message as a task would, without one; ``close`` ends it.

    A task for it, and a second one to wait for both, cost more than the rest of an empty poll.
    After the body is read, whatever is heard says that the client went.

    Args:
        on_heard: Called once, in a later turn of the loop, if a message comes.
    """

    __slots__ = ("_heard", "_is_over", "_on_heard", "_step")

    def __init__(self, receive: Receive, on_heard: Callable[[], object]) -> None:
        self._step = receive().__await__()
        self._on_heard = on_heard
        self._heard: asyncio.Future[object] | None = None
        self._is_over = False
        try:
            self._heard = next(self._step)
        except StopIteration:
            self._is_over = True
        else:
            self._heard.add_done_callback(self._go_on)

    def has_heard(self) -> bool:
        """Say whether a message came; ``on_heard`` was told, unless it was there at once."""
        return self._is_over

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
            self._is_over = True
            self._on_heard()
        else:
            self._heard.add_done_callback(self._go_on)
