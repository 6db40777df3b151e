"""Threads of user code: what blocks in one keeps no process alive."""

import asyncio
import subprocess
import sys
import threading

import pytest

from batuta.workers.thread import DaemonExecutor

PROGRAM = """
import asyncio, threading
from batuta.workers.thread import Runner

async def block():
    print("blocked", flush=True)
    await asyncio.to_thread(threading.Event().wait)

async def main():
    runner = Runner()
    try:
        await asyncio.wait_for(runner.run_async(block()), 0.2)
    except Exception as error:
        print(type(error).__name__, flush=True)
    await runner.close()

asyncio.run(main())
"""


def test_a_process_ends_though_a_call_of_its_functions_blocks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=20, check=True
    )

    assert done.stdout.split()[0] == "blocked"
    assert done.stderr == ""


async def test_calls_are_made_in_threads_some_at_most_and_answered() -> None:
    executor = DaemonExecutor(threads_max=2)
    asyncio.get_running_loop().set_default_executor(executor)
    names: set[str] = set()

    def call(number: int) -> int:
        names.add(threading.current_thread().name)
        if number == 5:
            raise ValueError("five")
        return number * 2

    found = await asyncio.gather(
        *(asyncio.to_thread(call, number) for number in range(40)), return_exceptions=True
    )

    assert [one for one in found if isinstance(one, int)] == [
        number * 2 for number in range(40) if number != 5
    ]
    assert str(found[5]) == "five"
    assert 1 <= len(names) <= 2


async def test_a_call_that_was_cancelled_before_its_turn_is_not_made() -> None:
    executor = DaemonExecutor(threads_max=1)
    go, made = threading.Event(), []
    first = executor.submit(go.wait)
    second = executor.submit(made.append, 1)

    assert second.cancel()
    go.set()
    assert first.result(5) is True
    assert executor.submit(len, made).result(5) == 0
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 1, 0).result(5)
    executor.shutdown()
