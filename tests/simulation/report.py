"""Many seeds, and what they came to: progress lines, a JSON report, a failing seed's timeline."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.simulation.coverage import DECLARED, covered
from tests.simulation.plants.planted import LEANS, PLANTS, planted
from tests.simulation.run import Outcome, simulate
from tests.simulation.shrink import shrink
from tests.simulation.world.plan import Lean

PROGRESS_S = 5.0
PLANT_SEEDS_MAX = 60  # within which each planted bug must be caught
CRASH_EVERY = 10  # points of the store between two at which a node is killed
SMALL_SCENARIOS = 3  # in which a node is killed at every point
HOUR_S = 3_600


class Report:
    """Sums up outcomes."""

    def __init__(self) -> None:
        self.outcomes = 0
        self.virtual_s = 0.0
        self.wall_s = 0.0
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.evaluations: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        self.reference: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.violations: list[dict[str, Any]] = []
        self.plants: dict[str, dict[str, Any]] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one seed in."""
        self.outcomes += 1
        self.virtual_s += outcome.virtual_s
        self.counts.update(steps=outcome.steps, commits=outcome.commits, runs=outcome.runs)
        self.faults += outcome.faults
        self.evaluations += outcome.evaluations
        self.transitions += outcome.transitions
        self.reference += outcome.covered
        self.operations += outcome.operations
        if outcome.violation is not None:
            found = {"seed": outcome.seed, "invariant": outcome.violation.invariant}
            self.violations.append({**found, "what": str(outcome.violation)})

    def line(self) -> str:
        """Return how it stands, in a line."""
        rate = self.outcomes / max(self.wall_s, 1e-9)
        return (
            f"{self.outcomes} seeds, {self.virtual_s / HOUR_S:.1f} virtual hours, "
            f"{self.counts['commits']} commits, {sum(self.faults.values())} faults, "
            f"{len(self.violations)} violations, {rate:.1f} seeds/s"
        )

    def document(self) -> dict[str, Any]:
        """Return the report as it is written."""
        met, missing = covered(self.transitions)
        return {
            "seeds": self.outcomes,
            "seeds_per_second": round(self.outcomes / max(self.wall_s, 1e-9), 2),
            "commits_per_second": round(self.counts["commits"] / max(self.wall_s, 1e-9), 1),
            "virtual_hours": round(self.virtual_s / HOUR_S, 2),
            **self.counts,
            "faults": dict(sorted(self.faults.items())),
            "faults_total": sum(self.faults.values()),
            "evaluations": dict(sorted(self.evaluations.items())),
            "transitions": {" ".join(key): n for key, n in sorted(self.transitions.items())},
            "transitions_declared": len(DECLARED),
            "transitions_met": met,
            "transitions_missing": missing,
            "operations": dict(sorted(self.operations.items())),
            "reference": dict(sorted(self.reference.items())),
            "violations": self.violations,
            "planted_bugs": self.plants,
            "planted_bugs_caught": sum(p["caught"] for p in self.plants.values()),
            "planted_bugs_total": len(self.plants),
        }


def say(text: str) -> None:
    """Show a line at once, also through a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_seeds(seeds: Iterable[int], report: Report) -> list[Outcome]:
    """Run seeds, say how it goes, and return those that broke a promise."""
    broken: list[Outcome] = []
    started = shown = time.monotonic()
    for seed in seeds:
        outcome = simulate(seed)
        report.add(outcome)
        if outcome.violation is not None:
            broken.append(outcome)
            say(f"seed {seed}: {outcome.violation}")
        report.wall_s = time.monotonic() - started
        if time.monotonic() - shown > PROGRESS_S:
            shown = time.monotonic()
            say(report.line())
    return broken


def catch(name: str, *, seeds_max: int = PLANT_SEEDS_MAX) -> dict[str, Any]:
    """Look for a planted bug; say by which invariant and which seed it was caught."""
    with planted(name):
        for seed in range(seeds_max):
            violation = simulate(seed, LEANS.get(name, Lean())).violation
            if violation is not None:
                found = {"caught": True, "seeds": seed + 1, "invariant": violation.invariant}
                return {**found, "what": str(violation)}
    return {"caught": False, "seeds": seeds_max}


def crash_everywhere(seed: int, report: Report, *, every: int = 1, runs: int = 0) -> list[Outcome]:
    """Run a seed without other faults, killing a node at each ``every``-th point of the store.

    Args:
        runs: How many runs are started; 0 for the usual number.
    """
    started = time.monotonic()
    points = simulate(seed, Lean({"": 0.0}, runs=runs)).points
    outcomes = [
        simulate(seed, Lean({"": 0.0}, crash_at=n, runs=runs)) for n in range(1, points, every)
    ]
    for outcome in outcomes:
        report.add(outcome)
    report.wall_s += time.monotonic() - started
    report.counts["crash_points"] += len(outcomes)
    return [outcome for outcome in outcomes if outcome.violation is not None]


def tell(seed: int, lean: Lean) -> None:
    """Make a failing seed small, and show what it still needs and its timeline."""
    found = shrink(seed, lean)
    say(f"\nseed {seed}: {found.outcome.violation}\nwith {found.lean}, after {found.tries} tries")
    say(found.outcome.story())


def main(seed_first: int, seed_count: int, path: Path) -> int:
    """Run everything and write the report; 1 when a promise was broken or a bug survived."""
    report = Report()
    broken = run_seeds(range(seed_first, seed_first + seed_count), report)
    broken += crash_everywhere(seed_first, report, every=CRASH_EVERY)
    for seed in range(seed_first, seed_first + SMALL_SCENARIOS):
        broken += crash_everywhere(seed, report, runs=1)
    say(f"killed a node at {report.counts['crash_points']} points of the store")
    for name in PLANTS:
        report.plants[name] = found = catch(name)
        by = f"{found['invariant']} at seed {found['seeds'] - 1}" if found["caught"] else "NOTHING"
        say(f"planted {name}: caught by {by}")
    document = report.document()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    caught = f"{document['planted_bugs_caught']} of {document['planted_bugs_total']}"
    say(f"{report.line()}; {caught} planted bugs caught; report in {path}")
    say(f"{document['transitions_met']} of {len(DECLARED)} declared changes of status met")
    for outcome in broken[:1]:
        tell(outcome.seed, outcome.lean)
    is_whole = all(found["caught"] for found in report.plants.values())
    return 0 if is_whole and not broken else 1
