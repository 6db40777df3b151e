"""One-step runs, ten-step chains and an idle chain by DBOS on SQLite; prints JSON.

Run by an interpreter that has dbos, by path: it imports nothing of ours. Durability is set as
ours is, WAL and ``synchronous=FULL``, and read back. Steps do nothing and run in the process;
throughput is the best of several numbers of client threads.

    /path/to/venv/bin/python bench/peers/dbos_sqlite.py FOLDER RUNS CHAINS IDLE
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbos import DBOS
from sqlalchemy import event
from sqlalchemy.engine import Engine

STEPS = 10
THREADS = (1, 4, 16)
found: dict[str, Any] = {}


@event.listens_for(Engine, "connect")
def make_durable(connection: Any, _record: Any) -> None:
    """Give each connection the durability that ours has, and note what it says."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    level = cursor.execute("PRAGMA synchronous").fetchone()[0]
    found["durability"] = f"journal_mode={mode}, synchronous={level} (2 is FULL)"
    cursor.close()


def together(run: Callable[[int], Any], count: int) -> dict[str, float]:
    """Return runs a second and CPU a run, of the best number of threads."""
    best = {"runs_per_s": 0.0}
    for threads in THREADS:
        with ThreadPoolExecutor(threads) as pool:
            started, cpu = time.perf_counter(), time.process_time()
            list(pool.map(run, range(count)))
            rate = count / (time.perf_counter() - started)
            cpu_us = (time.process_time() - cpu) / count * 1e6
        if rate > best["runs_per_s"]:
            best = {"runs_per_s": round(rate, 1), "cpu_us_per_run": round(cpu_us)}
            best["threads"] = threads
    return best


def main() -> None:
    folder, runs, chains, idle = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    url = f"sqlite:///{folder / 'dbos.db'}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})

    @DBOS.step()
    def step(x: int) -> dict[str, int]:
        return {"v": x}

    @DBOS.workflow()
    def one_step(x: int) -> dict[str, int]:
        return step(x)

    @DBOS.workflow()
    def ten_steps(x: int) -> int:
        for _ in range(STEPS):
            step(x)
        return x

    DBOS.launch()
    for number in range(20):  # warm-up
        ten_steps(number)
    times = []
    for number in range(idle):
        started = time.perf_counter()
        ten_steps(number)
        times.append((time.perf_counter() - started) * 1_000)
    found["one_step"] = together(one_step, runs)
    found["ten_steps"] = together(ten_steps, chains)
    found["idle_chain_p50_ms"] = round(statistics.median(times), 2)
    found["version"] = version("dbos")
    DBOS.destroy()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
