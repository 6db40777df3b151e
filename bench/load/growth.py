"""How the cost of a completion grows with the run it belongs to.

Runs of 100 tasks and one of 10,000 hold as many tasks together; all of them are started, then
workers come and do them, and the CPU from there to the end is divided by the tasks. A loop is
the other way to a long run: what its last passes cost shows in the ratio of 1,000 to 100.
"""

import time
from pathlib import Path

from batuta.runtime.engine import Engine
from bench.load import shapes
from bench.load.inprocess import Ends, alone, live_engine, start_many, working
from bench.load.shapes import Shape

SMALL, LARGE = 100, 10_000  # tasks in a run
LOOP_SMALL, LOOP_LARGE = 100, 1_000  # passes


async def measure(folder: Path, scale: float) -> dict[str, float]:
    """Return CPU us of a completion in small and large runs, and the ratios."""
    large = max(int(LARGE * scale), SMALL)
    async with live_engine(folder) as engine:
        ends = Ends(engine)
        await _completions(engine, ends, shapes.fan_out(SMALL), 10)  # warm-up
        small_us = await _completions(engine, ends, shapes.fan_out(SMALL), large // SMALL)
        large_us = await _completions(engine, ends, shapes.fan_out(large), 1)
        async with working(engine):
            passes = [
                await alone(engine, ends, shapes.loop(count), max(LOOP_LARGE // count, 1))
                for count in (LOOP_SMALL, LOOP_LARGE)
            ]
    few_us, many_us = (found["cpu_us_per_task"] for found in passes)
    return {
        f"completion_in_{SMALL}_cpu_us": round(small_us, 1),
        f"completion_in_{large}_cpu_us": round(large_us, 1),
        "completion_ratio": round(large_us / small_us, 2),
        f"pass_of_loop_{LOOP_SMALL}_cpu_us": few_us,
        f"pass_of_loop_{LOOP_LARGE}_cpu_us": many_us,
        "loop_ratio": round(many_us / few_us, 2),
    }


async def _completions(engine: Engine, ends: Ends, shape: Shape, runs: int) -> float:
    """Return the CPU us of doing a task of ``runs`` runs that are all there already."""
    await start_many(engine, shape, runs)
    ends.expect(shape, runs)
    cpu = time.process_time()
    async with working(engine):
        await ends.wait()
        cpu = time.process_time() - cpu
    return cpu / runs / shape.tasks * 1e6
