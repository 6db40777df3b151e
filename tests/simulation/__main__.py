"""``python -m tests.simulation``: run seeds and write the report (``make sim SEEDS=n``)."""

import argparse
import sys
from pathlib import Path

from tests.simulation.report import main, say, tell
from tests.simulation.run import simulate
from tests.simulation.world.plan import Lean

parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
parser.add_argument("--first", type=int, default=0, help="the first of them")
parser.add_argument("--report", type=Path, default=Path("build/simulation.json"), help="where")
parser.add_argument("--story", type=int, help="run this one seed and print its whole timeline")
parser.add_argument("--shrink", type=int, help="make this failing seed small and show it")
given = parser.parse_args()
if given.shrink is not None:
    tell(given.shrink, Lean())
    sys.exit(1)
if given.story is None:
    sys.exit(main(given.first, given.seeds, given.report))
outcome = simulate(given.story)
say("\n".join(outcome.timeline))
say(str(outcome.violation or "no promise was broken"))
sys.exit(outcome.violation is not None)
