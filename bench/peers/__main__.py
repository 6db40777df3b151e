"""``make peers``: other durable engines beside ours, in turns in one run on one machine.

Each pass measures every engine once, so that all see the same machine; the table gives medians
and how many times better ours is. All of them acknowledge what is synced to disk, and nothing
else: each engine's durability is read back and stands in the report. Ours and DBOS have their
workers in the process of the engine; Restate, BullMQ and ours over HTTP have a server, and a
process of workers and clients.

Peers are installed from PyPI and npm into build/peers; what does not install is skipped and
named. `--only dbos-sqlite` measures one, `--seconds 0.5 --passes 1` is a quick look.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load.server import Server
from bench.machine.described import describe
from bench.peers import install, servers
from bench.peers.install import AbsentError
from bench.peers.subject import Workload, measure

HERE = Path(__file__).parent
OURS = "batuta"

Opened = Callable[[Path, Path], Any]
"""``opened(installed, folder)`` gives a Workload within a block; data go into the folder."""


@contextmanager
def _batuta(_installed: Path, folder: Path) -> Iterator[Workload]:
    command = [sys.executable, "-m", "bench.peers.ours", str(folder)]
    with Workload(command, [], folder / "log") as workload:
        yield workload


@contextmanager
def _batuta_http(_installed: Path, folder: Path) -> Iterator[Workload]:
    with Server(folder / "http.db", core=None) as server:
        command = [sys.executable, "-m", "bench.peers.ours_http", str(server.port)]
        with Workload(command, [server.pid], folder / "log") as workload:
            yield workload


@contextmanager
def _dbos_sqlite(installed: Path, folder: Path) -> Iterator[Workload]:
    python = install.python(installed / "dbos", install.DBOS)
    command = [str(python), str(HERE / "dbos_steps.py"), f"sqlite:///{folder / 'dbos.db'}"]
    with Workload(command, [], folder / "log") as workload:
        yield workload


@contextmanager
def _dbos_postgres(installed: Path, folder: Path) -> Iterator[Workload]:
    python = install.python(installed / "dbos", install.DBOS)
    with servers.postgres(install.postgres_programs(), folder) as (url, pid):
        command = [str(python), str(HERE / "dbos_steps.py"), url]
        with Workload(command, [pid], folder / "log") as workload:
            yield workload


@contextmanager
def _restate(installed: Path, folder: Path) -> Iterator[Workload]:
    home = install.node(installed / "restate", install.RESTATE)
    program = install.restate_server(home)
    with servers.restate(program, folder) as (ingress, admin, pid):
        command = _node(home, "restate.mjs", ingress, admin)
        with Workload(command, [pid], folder / "log") as workload:
            server = install.package_version(home, "@restatedev/restate-server")
            workload.hello["version"] = f"{server}, {workload.hello['version']}"
            workload.hello["durability"] = servers.restate_durability(program)
            yield workload


@contextmanager
def _bullmq(installed: Path, folder: Path) -> Iterator[Workload]:
    home = install.node(installed / "bullmq", install.BULLMQ)
    with (
        servers.valkey(install.valkey_server(), folder) as (port, pid),
        Workload(_node(home, "bullmq.mjs", port), [pid], folder / "log") as workload,
    ):
        yield workload


ENGINES: dict[str, Opened] = {
    OURS: _batuta,
    "batuta-http": _batuta_http,
    "dbos-sqlite": _dbos_sqlite,
    "dbos-postgres": _dbos_postgres,
    "restate": _restate,
    "bullmq": _bullmq,
}


def _node(home: Path, script: str, *arguments: int) -> list[str]:
    """Return the command of a script, copied to where it finds its packages."""
    for name in (script, "protocol.mjs"):
        (home / name).write_bytes((HERE / name).read_bytes())
    return ["node", str(home / script), *map(str, arguments)]


def main() -> None:
    """Measure all in turns, print the table, write the report."""
    options = _options()
    names = [OURS, *(name for name in options.only or ENGINES if name != OURS)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    foreign: dict[str, list[float]] = {name: [] for name in names}
    notes: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for number in range(options.passes):
        for name in (name for name in names if name not in skipped):
            try:
                figures, cores, notes[name] = _pass(name, options)
            except AbsentError as error:
                skipped[name] = str(error)
                print(f"{name} is skipped: {error}", file=sys.stderr)
                continue
            found[name].append(figures)
            foreign[name] += cores
            line = f"pass {number + 1} of {options.passes}: {name} done"
            print(line, file=sys.stderr, flush=True)
    report = {
        "machine": describe(),
        "passes": options.passes,
        "seconds": options.seconds,
        "skipped": skipped,
        "engines": {
            name: {
                **notes[name],
                "foreign_cores": _spread(foreign[name]),
                "figures": {key: _spread([one[key] for one in found[name]]) for key in first},
            }
            for name, (first, *_) in ((n, f) for n, f in found.items() if f)
        },
    }
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report, options.report)


def _pass(name: str, options: argparse.Namespace) -> tuple[dict[str, float], list[float], Any]:
    installed = Path("build/peers").resolve()
    with (
        tempfile.TemporaryDirectory(prefix="batuta-peer-", dir=options.folder) as folder,
        ENGINES[name](installed, Path(folder)) as workload,
    ):
        figures, foreign = measure(workload, options.seconds)
        notes = {key: workload.hello[key] for key in ("version", "durability")}
    return figures, foreign, notes


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": min(values), "max": max(values)}


def _print(report: dict[str, Any], path: Path) -> None:
    engines = report["engines"]
    machine = report["machine"]
    print(f"{machine['cpu']}, {os.cpu_count()} cores; medians of {report['passes']} passes")
    for name, found in engines.items():
        cores = found["foreign_cores"]["median"]
        print(f"  {name} {found['version']}: {found['durability']}; others used {cores} cores")
    for name, reason in report["skipped"].items():
        print(f"  {name} is skipped: {reason}")
    print(f"\n{'figure':24}" + "".join(f" {name:>22}" for name in engines))
    ours = engines[OURS]["figures"]
    for key in ours:
        row = f"{key:24}"
        for name, found in engines.items():
            value = found["figures"][key]["median"]
            row += f" {_beside(ours[key]['median'], value, key, is_ours=name == OURS):>22}"
        print(row)
    print(f"\n(in brackets: how many times better ours is)\nreport: {path}")


def _beside(mine: float, other: float, key: str, *, is_ours: bool) -> str:
    if is_ours:
        return f"{other:g}"
    ratio = mine / other if key.endswith("per_s") else other / mine
    return f"{other:g} ({ratio:.3g})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make peers ARGS=...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=ENGINES, help="a peer; may be repeated")
    parser.add_argument("--passes", type=int, default=5, help="how often each figure is taken")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each figure in a pass")
    parser.add_argument("--folder", type=Path, help="where the databases are; else the system's")
    parser.add_argument("--report", type=Path, default=Path("build/bench-peers.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
