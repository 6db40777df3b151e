"""What a script costs: from the call on the loop to the value, through the child and back.

"alone": one script at a time, each waiting for the last. "together": as many as may wait, asked
for at once. "start": until the first value of a new sandbox. "kill": how late after its deadline
a script that cannot be interrupted is answered, and how long the next one then takes.

    python bench/micro/scripts.py [--count 3000]

Prints JSON; times in microseconds, medians unless said otherwise.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from typing import Any

import msgspec
import uvloop

from batuta.runtime.sandbox.pool import WAITING_MAX, Sandbox

SCRIPTS = {
    "condition": ("$.n > 2 && $.tags.some(t => t == 'b')", {"n": 3, "tags": ["a", "b"]}),
    "function": (
        "function e() { if ($.n > 2) { return 'many'; } else { return 'few'; } } e();",
        {"n": 3},
    ),
    "30 kB": (
        "$.rows.filter(r => r.n % 2).length",
        {"rows": [{"n": n, "name": "somebody", "tags": ["a"]} for n in range(600)]},
    ),
}
KILL_MS = 200
ENDLESS = "new Array(4e9).toString()"  # never looks at the interpreter's own time limit


def summary(times_s: list[float]) -> dict[str, int]:
    times_us = sorted(round(time_s * 1e6) for time_s in times_s)
    return {
        "p50": round(statistics.median(times_us)),
        "p99": times_us[len(times_us) * 99 // 100],
    }


async def timed(sandbox: Sandbox, source: str, argument: bytes) -> float:
    started_s = time.perf_counter()
    await sandbox.evaluate(source, argument)
    return time.perf_counter() - started_s


async def measure(count: int) -> dict[str, Any]:
    results: dict[str, Any] = {"start": []}
    for _ in range(5):
        sandbox = Sandbox()
        results["start"].append(await timed(sandbox, "1", b"{}"))
        await sandbox.stop()
    results["start"] = summary(results["start"])
    sandbox = Sandbox()
    for name, (source, value) in SCRIPTS.items():
        argument = msgspec.json.encode(value)
        await timed(sandbox, source, argument)
        alone = [await timed(sandbox, source, argument) for _ in range(count)]
        started_s = time.perf_counter()
        await asyncio.gather(*(timed(sandbox, source, argument) for _ in range(WAITING_MAX)))
        together_s = time.perf_counter() - started_s
        results[name] = {"alone": summary(alone), "togetherPerS": round(WAITING_MAX / together_s)}
    results["measures"] = sandbox.report()["measures"]
    await sandbox.stop()
    sandbox = Sandbox(script_ms_max=KILL_MS)
    await timed(sandbox, "1", b"{}")
    late, after = [], []
    for _ in range(10):
        late.append(await timed(sandbox, ENDLESS, b"{}") - KILL_MS / 1_000)
        after.append(await timed(sandbox, "1", b"{}"))
    await sandbox.stop()
    results["kill"] = {"late": summary(late), "next": summary(after)}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the script sandbox.")
    parser.add_argument("--count", type=int, default=3_000)
    results = uvloop.run(measure(parser.parse_args().count))
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n")


main()
