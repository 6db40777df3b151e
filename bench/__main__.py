"""``make bench``: all figures in one run, medians with their spread, as a table and as JSON."""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from bench.load import facts, http, inprocess
from bench.load.machine import ForeignCpu, describe

# What part 3 of the plan asks for, as (figure, target, "more" or "less" is better).
TARGETS: dict[str, tuple[float, str]] = {
    "one_step_runs_per_s": (6_000, "more"),
    "ten_step_chains_per_s": (900, "more"),
    "http_tasks_per_s": (4_000, "more"),
    "http_idle_chain_p50_ms": (12, "less"),
    "cold_start_s": (0.5, "less"),
    "idle_rss_mb": (70, "less"),
}


def main() -> None:
    """Measure, print the table, write the JSON report."""
    options = _options()
    foreign = ForeignCpu()
    passes: list[dict[str, Any]] = []
    foreign.start()
    for number in range(options.passes):
        with tempfile.TemporaryDirectory(prefix="batuta-bench-") as name:
            passes.append(_one_pass(Path(name), options.scale))
        print(f"pass {number + 1} of {options.passes} done", file=sys.stderr, flush=True)
    figures = {key: _spread([found[key] for found in passes]) for key in passes[0]}
    report = {
        "machine": describe(),
        "durability": "SQLite WAL, synchronous=FULL",
        "foreign_cores": foreign.stop(),
        "passes": options.passes,
        "figures": figures,
    }
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report, options.report)


def _one_pass(folder: Path, scale: float) -> dict[str, Any]:
    runs, chains, idle = int(12_000 * scale), int(1_500 * scale), int(200 * scale)
    uvloop_run = uvloop.run
    for part in ("inprocess", "facts", "busy"):
        (folder / part).mkdir()
    figures: dict[str, Any] = uvloop_run(
        inprocess.measure(folder / "inprocess", runs=runs, chains=chains, idle=idle)
    )
    figures |= uvloop_run(facts.busy_commit_ms(folder / "busy", seconds=3 * scale))
    figures |= http.measure(folder, runs=int(1_500 * scale), idle=int(100 * scale))
    figures |= facts.start_and_memory(folder / "facts")
    return figures


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _print(report: dict[str, Any], path: Path) -> None:
    machine = report["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, ", end="")
    print(f"SQLite {machine['sqlite']}, {report['durability']}; ", end="")
    print(f"others used {report['foreign_cores']} cores meanwhile")
    print(f"{'figure':28} {'median':>10} {'min':>10} {'max':>10} {'target':>10}")
    for name, found in report["figures"].items():
        target, _ = TARGETS.get(name, ("", ""))
        row = f"{name:28} {found['median']:>10} {found['min']:>10} {found['max']:>10}"
        print(f"{row} {target!s:>10}")
    print(f"report: {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--passes", type=int, default=5, help="how often each figure is taken")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a quick look")
    parser.add_argument("--report", type=Path, default=Path("build/bench.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
