"""Many seeds in several processes, nodes killed everywhere, planted bugs; with a JSON report."""

import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tests.simulation.coverage import DECLARED
from tests.simulation.plants.planted import LEANS, PLANTS, planted
from tests.simulation.report import Report
from tests.simulation.run import simulate
from tests.simulation.shrink import shrink
from tests.simulation.world.plan import LONG_EVERY, Lean, scale_of

PROGRESS_S = 5.0
WRITTEN_S = 60.0  # between two reports on disk, so that one that is stopped leaves its figures
PART = 25  # seeds that a process runs before it tells what they came to
PLANT_SEEDS_MAX = 200  # within which each planted bug must be caught
CRASH_EVERY = 10  # points of the store between two at which a node is killed
# Seeds of one run in which a node is killed at every point: fork, DAG, dynamic fork, loop, others.
SMALL_SCENARIOS = (1, 4, 37, 7, 14, 17, 20, 35)

Work = tuple[Callable[..., Report], tuple[Any, ...]]


def say(text: str) -> None:
    """Show a line at once, also through a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_seeds(
    seeds: Iterable[int],
    lean: Lean = Lean(),  # noqa: B008  frozen
    long_every: int = LONG_EVERY,
) -> Report:
    """Run seeds; one that breaks a promise does not stop the others."""
    report = Report()
    for seed in seeds:
        report.run(seed, replace(lean, scale=scale_of(seed, lean.scale, long_every).name))
    return report


def catch(name: str, *, seeds_max: int = PLANT_SEEDS_MAX) -> Report:
    """Look for a planted bug; say by which invariant and which seed it was caught."""
    report = Report()
    report.plants[name] = {"caught": False, "seeds": seeds_max}
    with planted(name):
        for seed in range(seeds_max):
            violation = simulate(seed, LEANS.get(name, Lean())).violation
            if violation is not None:
                found = {"caught": True, "seeds": seed + 1, "invariant": violation.invariant}
                report.plants[name] = {**found, "what": str(violation)}
                break
    return report


def crash_everywhere(seed: int, *, every: int = 1, **lean: Any) -> Report:
    """Run a seed without other faults, killing a node at each ``every``-th point of the store.

    Args:
        lean: Of the seed, beside the absence of faults: its scale, how many runs.
    """
    report = Report()
    points = simulate(seed, Lean({"": 0.0}, **lean)).points
    for point in range(1, points + 1, every):
        report.run(seed, Lean({"": 0.0}, crash_at=point, **lean))
        report.counts["crash_points"] += 1
    return report


def tell(seed: int, lean: Lean) -> None:
    """Make a failing seed small, and show what it still needs and its timeline."""
    found = shrink(seed, lean)
    say(f"\nseed {seed}: {found.outcome.violation}\nwith {found.lean}, after {found.tries} tries")
    say(found.outcome.story())


def main(
    seeds: range, path: Path, *, jobs: int = 1, lean: Lean, long_every: int = LONG_EVERY
) -> int:
    """Run everything and write the report; 1 when a promise was broken or a bug survived."""
    report = Report()
    parts = [seeds[n : n + PART] for n in range(0, len(seeds), PART)]
    _run([(run_seeds, (part, lean, long_every)) for part in parts], report, path, jobs)
    crashes: list[Work] = [(_crash, (seed, 1)) for seed in SMALL_SCENARIOS]
    plants: list[Work] = [(catch, (name,)) for name in PLANTS]
    _run([(_crash, (seeds[0], CRASH_EVERY)), *crashes, *plants], report, path, jobs)
    document = _write(report, path)
    say(f"killed a node at {report.counts['crash_points']} points of the store")
    for name, found in document["planted_bugs"].items():
        by = f"{found['invariant']} at seed {found['seeds'] - 1}" if found["caught"] else "NOTHING"
        say(f"planted {name}: caught by {by}")
    caught = f"{document['planted_bugs_caught']} of {document['planted_bugs_total']}"
    say(f"{report.line()}; {caught} planted bugs caught; report in {path}")
    say(f"{document['transitions_met']} of {len(DECLARED)} declared changes of status met")
    for found in report.violations:
        say(f"seed {found['seed']}: {found['what']}\n    {found['replay']}")
    for story in report.stories:
        say(f"\n{story}")
    is_whole = all(found["caught"] for found in report.plants.values())
    return 0 if is_whole and not report.violations else 1


def _crash(seed: int, every: int) -> Report:
    if every > 1:
        return crash_everywhere(seed, every=every, scale="long")
    return crash_everywhere(seed, scale="short", runs=1)


def _run(works: list[Work], report: Report, path: Path, jobs: int) -> None:
    """Do the works in processes, count in what they come to, and say how it goes."""
    before_s = report.wall_s
    started_s = shown_s = written_s = time.monotonic()
    for found in _results(works, jobs):
        report.merge(found)
        now_s = time.monotonic()
        report.wall_s = before_s + now_s - started_s
        for violation in found.violations:
            say(f"seed {violation['seed']}: {violation['what']}\n    {violation['replay']}")
        if now_s - shown_s > PROGRESS_S:
            shown_s = now_s
            say(report.line())
        if now_s - written_s > WRITTEN_S:
            written_s = now_s
            _write(report, path)


def _results(works: list[Work], jobs: int) -> Iterator[Report]:
    if jobs == 1:
        yield from map(_do, works)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _prepare) as pool:
        yield from pool.imap_unordered(_do, works)


def _prepare() -> None:
    """Have a process look at nothing again that all seeds share, when it collects garbage."""
    gc.collect()
    gc.freeze()
    gc.disable()


def _do(work: Work) -> Report:
    do, given = work
    return do(*given)


def _write(report: Report, path: Path) -> dict[str, Any]:
    document = report.document()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return document
