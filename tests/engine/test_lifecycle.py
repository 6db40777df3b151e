"""Loops end when they are told to, whatever they were waiting for."""

import asyncio
from collections.abc import Callable

import pytest

from batuta.runtime import lifecycle
from batuta.runtime.lifecycle import Supervisor


async def test_a_loop_that_loses_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "ASK_AGAIN_S", 0.01)
    lost = 0

    async def loop(beat: Callable[[], None]) -> None:
        nonlocal lost
        while True:
            beat()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost += 1  # as asyncio.wait_for does in Python 3.11 when its future is done

    supervisor = Supervisor(lambda: 0)
    supervisor.start("stubborn", loop)
    await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await supervisor.stop()

    assert lost == 1
