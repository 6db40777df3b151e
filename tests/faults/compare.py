"""The store against the clients' ledger: nothing acknowledged lost, nothing done twice."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.ledger import Ledger


def ended(database: Path) -> bool:
    """Tell whether every run is COMPLETED."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT DISTINCT status FROM workflow").fetchall() == [
            ("COMPLETED",)
        ]


def compare(database: Path, ledger: Ledger) -> None:
    """Hold the store against what the clients were told; every completion counted once."""
    with closing(sqlite3.connect(database)) as connection:
        runs = {run for [run] in connection.execute("SELECT lower(hex(id)) FROM workflow")}
        tasks = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT lower(hex(task_id)), coalesce(doc ->> 's', 'SCHEDULED'), output, "
                "doc ->> 'qu', workflow_id, doc ->> 'ref' FROM task WHERE NOT retired"
            )
        }
    starts = [record["id"].replace("-", "") for record in ledger.read("start")]
    assert [run for run in starts if run not in runs] == [], "an acknowledged start is lost"

    effects = {(r["task"].replace("-", ""), r["effect"]) for r in ledger.read("effect")}
    for record in ledger.read("update"):
        status, output, *_ = tasks[record["task"].replace("-", "")]
        is_late = status == "TIMED_OUT" and not record["is_in_time"]
        assert is_late or (status, _effect(output)) == (record["status"], record["effect"]), (
            f"an acknowledged report is lost: {record} is {status} {output!r}"
        )
    done = [(name, row) for name, row in tasks.items() if row[2] and row[0] == "COMPLETED"]
    assert [name for name, row in done if (name, _effect(row[1])) not in effects] == []
    # Each node of a run, in each pass of a loop, has one attempt that was completed.
    once = Counter((row[3], row[4]) for _, row in done)
    assert [place for place, count in once.items() if count > 1] == []


def _effect(output: bytes | None) -> Any:
    return json.loads(output or b"{}").get("effect")
