"""Our figures and a peer's in one run on one machine, in turns, with their ratio.

The peer is not installed by us. Make an environment of its own and name its interpreter:

    python -m venv /tmp/dbos && /tmp/dbos/bin/pip install dbos
    make setup && .venv/bin/python -m bench.peers --dbos /tmp/dbos/bin/python

Both are durable in the same way (SQLite in WAL mode, synchronous=FULL); both have their workers
in the process. Ours keep a journal and queues besides, DBOS's keep the results of steps.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from bench.load import inprocess
from bench.load.machine import ForeignCpu, describe

SCRIPT = Path(__file__).with_name("dbos_sqlite.py")
RUNS, CHAINS, IDLE = 600, 100, 40  # of the peer; ours do more in the same time

# figure -> is more better
FIGURES = {
    "one_step_runs_per_s": True,
    "one_step_cpu_us": False,
    "ten_steps_runs_per_s": True,
    "ten_steps_cpu_us": False,
    "idle_chain_p50_ms": False,
}


def main() -> None:
    """Measure both in turns, print the table, write the report."""
    options = _options()
    foreign = ForeignCpu()
    foreign.start()
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    notes: dict[str, Any] = {}
    for _ in range(options.passes):
        theirs.append(_dbos(options.dbos, notes))
        ours.append(_ours(options.scale))
    report: dict[str, Any] = {
        "machine": describe(),
        "foreign_cores": foreign.stop(),
        "passes": options.passes,
        "dbos": notes,
        "figures": {},
    }
    print(f"others used {report['foreign_cores']} cores; DBOS {notes['version']}, ", end="")
    print(f"{notes['durability']}, best of 1, 4 and 16 threads")
    print(f"{'figure':24} {'batuta':>10} {'dbos':>10} {'ratio':>8}")
    for name, is_more_better in FIGURES.items():
        mine = statistics.median(one[name] for one in ours)
        other = statistics.median(one[name] for one in theirs)
        ratio = round(mine / other if is_more_better else other / mine, 1)
        report["figures"][name] = {"batuta": mine, "dbos": other, "ratio": ratio}
        print(f"{name:24} {mine:>10} {other:>10} {ratio:>8}")
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _dbos(python: str, notes: dict[str, Any]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="dbos-bench-") as folder:
        command = [python, str(SCRIPT), folder, str(RUNS), str(CHAINS), str(IDLE)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    notes |= {"version": found["version"], "durability": found["durability"]}
    return {
        "one_step_runs_per_s": found["one_step"]["runs_per_s"],
        "one_step_cpu_us": found["one_step"]["cpu_us_per_run"],
        "ten_steps_runs_per_s": found["ten_steps"]["runs_per_s"],
        "ten_steps_cpu_us": found["ten_steps"]["cpu_us_per_run"],
        "idle_chain_p50_ms": found["idle_chain_p50_ms"],
    }


def _ours(scale: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="batuta-bench-") as folder:
        found: dict[str, float] = uvloop.run(inprocess.measure(Path(folder), scale))
    return {
        "one_step_runs_per_s": found["one_step_runs_per_s"],
        "one_step_cpu_us": found["one_step_cpu_us_per_task"],
        "ten_steps_runs_per_s": found["ten_steps_runs_per_s"],
        "ten_steps_cpu_us": round(found["ten_steps_cpu_us_per_task"] * 10, 1),
        "idle_chain_p50_ms": found["idle_chain_p50_ms"],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dbos", required=True, help="an interpreter that has dbos installed")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--scale", type=float, default=0.5, help="of ours; 1 is 12,000 runs")
    parser.add_argument("--report", type=Path, default=Path("build/bench-peers.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
