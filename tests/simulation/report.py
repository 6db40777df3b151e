"""What many seeds came to: counts that add up, a line, a JSON report."""

import time
from collections import Counter
from typing import Any

from tests.simulation.coverage import DECLARED, covered
from tests.simulation.run import Outcome, simulate
from tests.simulation.world.plan import BrokenError, Lean, scale_of

HOUR_S = 3_600
STORIES_MAX = 3  # of failing seeds that a report carries along


class Report:
    """Sums up outcomes; reports of several processes add up."""

    def __init__(self) -> None:
        self.seeds: Counter[str] = Counter()  # by scale
        self.cpu_s: Counter[str] = Counter()  # of processor time, by scale
        self.wall_s = 0.0
        self.virtual_s = 0.0
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.evaluations: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        self.reference: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.violations: list[dict[str, Any]] = []
        self.stories: list[str] = []
        self.plants: dict[str, dict[str, Any]] = {}

    def run(self, seed: int, lean: Lean = Lean()) -> None:  # noqa: B008  frozen
        """Run a seed and count it in; one that the simulator itself fails at is a violation."""
        started_s = time.process_time()
        scale = scale_of(seed, lean.scale).name
        try:
            self._add(simulate(seed, lean))
        except Exception as error:  # noqa: BLE001  it must not stop the others
            self._add_violation(seed, BrokenError("R13", f"it failed: {error!r}", ""), scale, lean)
        self.seeds[scale] += 1
        self.cpu_s[scale] += time.process_time() - started_s  # type: ignore[assignment]

    def merge(self, other: "Report") -> None:
        """Count in what another process has run."""
        for name in ("seeds", "cpu_s", "counts", "faults", "evaluations", "transitions"):
            getattr(self, name).update(getattr(other, name))
        self.reference.update(other.reference)
        self.operations.update(other.operations)
        self.virtual_s += other.virtual_s
        self.violations += other.violations
        self.stories = (self.stories + other.stories)[:STORIES_MAX]
        self.plants |= other.plants

    def line(self) -> str:
        """Return how it stands, in a line."""
        speeds = ", ".join(f"{name} {rate:.1f}" for name, rate in self._rates().items())
        return (
            f"{sum(self.seeds.values())} seeds, {self.virtual_s / HOUR_S:.1f} virtual hours, "
            f"{self.counts['commits']} commits, {sum(self.faults.values())} faults, "
            f"{len(self.violations)} violations; seeds/s a core: {speeds}"
        )

    def document(self) -> dict[str, Any]:
        """Return the report as it is written."""
        met, missing = covered(self.transitions)
        seeds = sum(self.seeds.values())
        kills = sorted(p["seeds"] for p in self.plants.values() if p["caught"])
        return {
            "seeds": seeds,
            "seeds_by_scale": dict(self.seeds),
            "seeds_per_second_and_core": {n: round(r, 1) for n, r in self._rates().items()},
            "seeds_per_second": round(seeds / max(self.wall_s, 1e-9), 2),
            "processor_seconds": round(sum(self.cpu_s.values()), 1),
            "wall_seconds": round(self.wall_s, 1),
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
            "planted_bugs": dict(sorted(self.plants.items())),
            "planted_bugs_caught": len(kills),
            "planted_bugs_total": len(self.plants),
            "planted_bugs_median_seeds": kills[len(kills) // 2] if kills else None,
        }

    def _rates(self) -> dict[str, float]:
        return {name: n / max(self.cpu_s[name], 1e-9) for name, n in sorted(self.seeds.items())}

    def _add(self, outcome: Outcome) -> None:
        self.virtual_s += outcome.virtual_s
        self.counts.update(steps=outcome.steps, commits=outcome.commits, runs=outcome.runs)
        self.faults.update(outcome.faults)
        self.evaluations.update(outcome.evaluations)
        self.transitions.update(outcome.transitions)
        self.reference.update(outcome.covered)
        self.operations.update(outcome.operations)
        if outcome.violation is None:
            return
        self._add_violation(outcome.seed, outcome.violation, outcome.scale, outcome.lean)
        if len(self.stories) < STORIES_MAX:
            self.stories.append(f"seed {outcome.seed}: {outcome.violation}\n{outcome.story()}")

    def _add_violation(self, seed: int, found: BrokenError, scale: str, lean: Lean) -> None:
        self.violations.append(
            {
                "seed": seed,
                "scale": scale,
                "invariant": found.invariant,
                "what": str(found),
                "replay": replay(seed, scale, lean),
            }
        )


def replay(seed: int, scale: str, lean: Lean) -> str:
    """Return the command that shows a seed's timeline."""
    given = f" --crash-at {lean.crash_at} --runs {lean.runs}" * bool(lean.crash_at)
    return f"python -m tests.simulation --story {seed} --scale {scale}{given}"
