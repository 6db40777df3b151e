"""How many instructions a task costs: a figure that the machine's mood does not move.

Processor time of a rented machine swings by a factor of two with what its host does beside it;
instructions differ by less than one percent between runs of the same code. Each shape of
``make bench`` runs twice in a process of its own under valgrind, which has to be installed, with
a few and with more runs; the difference is what they cost, start-up left out. Engine, writer and
worker are in it; the kernel is not.

    python -m bench.micro.instructions [--shape one_step]

Prints JSON: thousands of instructions a task, and by how many runs they were found.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import uvloop

from bench.load import shapes
from bench.load.inprocess import Ends, alone, live_engine, together, working
from bench.load.shapes import Shape

# (shape, whether its runs go one after the other, how many runs at first and then)
_FAN_OUT = shapes.fan_out(1_000)
MEASURED: dict[str, tuple[Shape, bool, int, int]] = {
    "one_step": (shapes.ONE_STEP, False, 200, 1_200),
    "ten_steps": (shapes.TEN_STEPS, False, 20, 120),
    "fan_out_1000": (_FAN_OUT, True, 1, 4),
    "tree": (shapes.TREE, True, 2, 12),
}


async def _work(name: str, runs: int) -> None:
    shape, is_alone, _, _ = MEASURED[name]
    with tempfile.TemporaryDirectory(prefix="batuta-bench-") as folder:
        async with live_engine(Path(folder)) as engine, working(engine):
            await (alone if is_alone else together)(engine, Ends(engine), shape, runs)


def _count(name: str, runs: int) -> int:
    """Return the instructions of a whole process that does these runs."""
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    words = [sys.executable, "-m", "bench.micro.instructions", "--shape", name, "--runs", str(runs)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [*tool, *words], env=environment, capture_output=True, text=True, check=False
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"valgrind could not measure {name}: {done.stderr[-2_000:]}")
    return int(found[1].replace(",", ""))


def measure(name: str) -> dict[str, float]:
    """Return what a task of a shape costs."""
    shape, _, few, more = MEASURED[name]
    spent = _count(name, more) - _count(name, few)
    return {"k_per_task": round(spent / (more - few) / shape.tasks / 1_000, 1), "runs": more - few}


def main() -> None:
    """Measure the shapes asked for, or be the process that is measured."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    parser.add_argument("--shape", choices=MEASURED, help="one shape; else all of them")
    parser.add_argument("--runs", type=int, help="do these runs and count nothing")
    options = parser.parse_args()
    if options.runs:
        uvloop.run(_work(options.shape, options.runs))
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("install valgrind to count instructions (Debian: apt install valgrind)")
    names = [options.shape] if options.shape else list(MEASURED)
    print(json.dumps({name: measure(name) for name in names}, indent=2))


if __name__ == "__main__":
    main()
