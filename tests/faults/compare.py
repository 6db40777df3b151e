"""The store against the clients' ledger: nothing acknowledged lost, nothing done twice."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol


class Records(Protocol):
    """What clients and workers noted: ``tests.faults.ledger`` and others."""

    def read(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the lines of a kind, or all, oldest first."""
        ...


def ended(database: Path) -> bool:
    """Tell whether every run is COMPLETED."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT DISTINCT status FROM workflow").fetchall() == [
            ("COMPLETED",)
        ]


def compare(database: Path, ledger: Records) -> None:
    """Hold a SQLite file against what the clients were told; every completion counted once."""
    with closing(sqlite3.connect(database)) as connection:
        runs = {run for [run] in connection.execute("SELECT lower(hex(id)) FROM workflow")}
        tasks = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT lower(hex(task_id)), coalesce(doc ->> 's', 'SCHEDULED'), output, "
                "doc ->> 'qu', workflow_id, doc ->> 'ref' FROM task WHERE NOT retired"
            )
        }
    compare_rows(runs, tasks, ledger)


def compare_rows(runs: set[str], tasks: dict[str, Any], ledger: Records) -> None:
    """Hold the rows of a store against what the clients were told.

    Args:
        runs: Ids as 32 hexadecimal digits.
        tasks: By such an id: status, output, queue, run, reference name.
    """
    starts = [record["id"].replace("-", "") for record in ledger.read("start")]
    assert [run for run in starts if run not in runs] == [], "an acknowledged start is lost"

    effects = {(r["task"].replace("-", ""), r["effect"]) for r in ledger.read("effect")}
    for record in ledger.read("update"):
        found = tasks.get(record["task"].replace("-", ""))
        assert found, f"an acknowledged report is lost, with its task: {record}"
        status, output, *_ = found
        is_late = status == "TIMED_OUT" and not record["is_in_time"]
        assert is_late or (status, _effect(output)) == (record["status"], record["effect"]), (
            f"an acknowledged report is lost: {record} is {status} {output!r}"
        )
    assert _again(tasks, ledger) == [], "what was reported completed was done again"
    done = [(name, row) for name, row in tasks.items() if row[2] and row[0] == "COMPLETED"]
    assert [name for name, row in done if (name, _effect(row[1])) not in effects] == []
    # Each node of a run, in each pass of a loop, has one attempt that was completed.
    once = Counter((row[3], row[4]) for _, row in done)
    assert [place for place, count in once.items() if count > 1] == []


def _again(tasks: dict[str, Any], ledger: Records) -> list[dict[str, Any]]:
    """Return the effects of attempts, and of nodes, that had an acknowledged and counted end.

    Nor has one attempt two effects: whoever gets a task id is the only one.
    """
    done: set[Any] = set()
    again = []
    for record in ledger.read():
        if "task" not in record:
            continue
        name = record["task"].replace("-", "")
        status, output, _, run, reference = tasks.get(name, (None,) * 5)
        if record["kind"] == "effect":
            if {name, (run, reference)} & done:
                again.append(record)
            done.add(name)
        elif status == "COMPLETED" and _effect(output) == record["effect"]:
            done.add((run, reference))
    return again


def _effect(output: bytes | None) -> Any:
    return json.loads(output or b"{}").get("effect")
