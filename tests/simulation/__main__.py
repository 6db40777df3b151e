"""``python -m tests.simulation``: run seeds and write the report (``make sim SEEDS=n JOBS=n``)."""

import argparse
import sys
from pathlib import Path

from tests.simulation.campaign import main, say, tell
from tests.simulation.run import simulate
from tests.simulation.world.plan import LONG_EVERY, SCALES, Lean


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="in how many processes")
    parser.add_argument(
        "--scale",
        default="",
        choices=["", *SCALES],
        help="of all seeds; else one of 20 is long",
    )
    parser.add_argument("--long-every", type=int, default=LONG_EVERY, help="one of so many is long")
    parser.add_argument("--report", type=Path, default=Path("build/simulation.json"), help="where")
    parser.add_argument("--story", type=int, help="run this one seed and print its whole timeline")
    parser.add_argument("--shrink", type=int, help="make this failing seed small and show it")
    parser.add_argument("--crash-at", type=int, default=0, help="a point of the store, no others")
    parser.add_argument("--runs", type=int, default=0, help="of the story; 0 as many as usual")
    return parser


def _story(seed: int, lean: Lean) -> int:
    outcome = simulate(seed, lean)
    say("\n".join(outcome.timeline))
    say(str(outcome.violation or "no promise was broken"))
    return outcome.violation is not None


if __name__ == "__main__":
    given = _parser().parse_args()
    rates = {"": 0.0} if given.crash_at else {}
    lean = Lean(rates, crash_at=given.crash_at, runs=given.runs, scale=given.scale)
    if given.shrink is not None:
        tell(given.shrink, lean)
        sys.exit(1)
    if given.story is not None:
        sys.exit(_story(given.story, lean))
    seeds = range(given.first, given.first + given.seeds)
    every = given.long_every
    sys.exit(main(seeds, given.report, jobs=given.jobs, lean=lean, long_every=every))
