"""``make bench``: figures of this machine, medians with their spread, as a table and as JSON.

make bench                                              all parts, five passes, bounded sizes
make bench ARGS="--passes 1 --scale 0.1"                a quick look
make bench ARGS="--only http"                           one part
make bench ARGS="--only open-runs --count 100000"       a large one, asked for by its size
make bench ARGS="--large --passes 1"                    all parts in their large forms: long
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine.described import ForeignCpu, describe
from bench.parts import PARTS, Figures

# What part 3 of the plan asks for of a quiet machine of two cores: at least, or at most.
AT_LEAST = {"one_step_runs_per_s": 6_000, "ten_steps_runs_per_s": 900}
AT_LEAST |= {"http_ten_steps_tasks_per_s": 4_000}
AT_MOST = {
    "idle_chain_to_allowed": 1,
    "finished_runs_throughput_lost_percent": 10,
    "http_idle_chain_p50_ms": 12,
    "fan_out_100_p50_ms": 16,
    "fan_out_1000_p50_ms": 100,
    "completion_ratio": 1.3,
    "cold_start_s": 0.5,
    "idle_rss_mb": 70,
    "installed_mb": 90,
    "open_runs_ready_after_kill_s": 2,
    "open_runs_rss_kb_per_run": 1.5,
    "finished_runs_get_p50_ms": 5,
    "finished_runs_list_p50_ms": 10,
}
TARGETS = {name: f">= {least}" for name, least in AT_LEAST.items()} | {
    name: f"<= {most}" for name, most in AT_MOST.items()
}


def main() -> None:
    """Measure, print the table, write the JSON report."""
    options = _options()
    names = options.only or list(PARTS)
    found: dict[str, list[Figures]] = {name: [] for name in names}
    foreign: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.passes):
        for name in names:
            figures, cores = _measure(name, options)
            found[name].append(figures)
            foreign[name].append(cores)
            line = f"pass {number + 1} of {options.passes}: {name} done"
            print(line, file=sys.stderr, flush=True)
    report = {
        "machine": describe(),
        "durability": "SQLite WAL, synchronous=FULL",
        "passes": options.passes,
        "scale": options.scale,
        "parts": {
            name: {
                "foreign_cores": _spread(foreign[name]),
                "figures": {key: _spread([one[key] for one in found[name]]) for key in first},
            }
            for name, (first, *_) in found.items()
        },
    }
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report, options.report)


def _measure(name: str, options: argparse.Namespace) -> tuple[Figures, float]:
    """Return one pass of a part, and the cores that others used meanwhile."""
    part, foreign = PARTS[name], ForeignCpu()
    with tempfile.TemporaryDirectory(prefix="batuta-bench-", dir=options.folder) as folder:
        foreign.start()
        count = options.count or (part.count_large if options.large else part.count)
        figures = part.measure(Path(folder), options.scale, count)
        return figures, foreign.stop()


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": min(values), "max": max(values)}


def _print(report: dict[str, Any], path: Path) -> None:
    machine = report["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, ", end="")
    print(f"SQLite {machine['sqlite']}, {report['durability']}")
    for name, part in report["parts"].items():
        foreign = part["foreign_cores"]
        print(f"\n{name}: {PARTS[name].about}; others used {foreign['median']} cores", end="")
        print(f" ({foreign['min']} - {foreign['max']})")
        print(f"  {'figure':42} {'median':>10} {'min':>10} {'max':>10} {'target':>10}")
        for key, found in part["figures"].items():
            row = f"  {key:42} {found['median']:>10} {found['min']:>10} {found['max']:>10}"
            print(f"{row} {TARGETS.get(key, ''):>10}".rstrip())
    print(f"\nreport: {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{part.name:14} {part.about}" for part in PARTS.values()),
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--passes", type=int, default=5, help="how often each figure is taken")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a quick look")
    parser.add_argument("--count", type=int, default=0, help="of the idle workers, or of the runs")
    parser.add_argument("--large", action="store_true", help="100,000 open, 1,000,000 finished")
    parser.add_argument("--folder", type=Path, help="where the databases are; else the system's")
    parser.add_argument("--report", type=Path, default=Path("build/bench.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
