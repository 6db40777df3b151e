"""The workloads' end of subject.py: says what it is, then does what each line asks for.

A line is {"shape", "seconds", "clients"}; its answer {"count", "elapsed_s", "times_ms"}. Each
client starts a run, waits for its end, and starts the next until the time is over. Imports
nothing but the standard library: DBOS's interpreter has nothing of ours.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

RUNS_MIN = 3  # of one client, however long they take


def say(words: dict[str, Any]) -> None:
    """Write a line of JSON at once."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def width_of(shape: str) -> int:
    """Return 100 of "fan_out_100"."""
    return int(shape.rpartition("_")[2])


def serve_threads(hello: dict[str, Any], run: Callable[[str], None]) -> None:
    """Serve with clients that are threads; ``run(shape)`` does one run from start to end."""
    say(hello)
    for line in sys.stdin:
        asked = json.loads(line)
        times: list[float] = []
        begun = time.perf_counter()

        def client(
            _number: int, asked: Any = asked, times: Any = times, begun: float = begun
        ) -> None:
            number = 0
            while number < RUNS_MIN or time.perf_counter() < begun + asked["seconds"]:
                started = time.perf_counter()
                run(asked["shape"])
                times.append((time.perf_counter() - started) * 1_000)
                number += 1

        with ThreadPoolExecutor(asked["clients"]) as pool:
            list(pool.map(client, range(asked["clients"])))
        _answer(times, begun)


async def serve_tasks(hello: dict[str, Any], run: Callable[[str], Awaitable[None]]) -> None:
    """Serve with clients that are tasks of this loop."""
    say(hello)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        times: list[float] = []
        begun = time.perf_counter()

        async def client(asked: Any = asked, times: Any = times, begun: float = begun) -> None:
            number = 0
            while number < RUNS_MIN or time.perf_counter() < begun + asked["seconds"]:
                started = time.perf_counter()
                await run(asked["shape"])
                times.append((time.perf_counter() - started) * 1_000)
                number += 1

        await asyncio.gather(*(client() for _ in range(asked["clients"])))
        _answer(times, begun)


def _answer(times: list[float], begun: float) -> None:
    elapsed_s = time.perf_counter() - begun
    say({"count": len(times), "elapsed_s": elapsed_s, "times_ms": times})
