"""What must be true of a SQLite store whenever no server has it: by SQL alone, plus the fold."""

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.core.journal import fold
from batuta.model.execution import Task, TaskStatus, Workflow

_LIVE = "coalesce(t.doc ->> 's', 'SCHEDULED') IN ('SCHEDULED', 'IN_PROGRESS') AND NOT t.retired"
_OPEN = "w.status IN ('RUNNING', 'PAUSED')"

# Each gives one row for each fault, with what tells it from others.
RULES = {
    "a RUNNING run has a live task, a timer or a Send": f"""
        SELECT hex(w.id) FROM workflow w WHERE w.status = 'RUNNING'
        AND NOT EXISTS (SELECT 1 FROM task t WHERE t.workflow_id = w.id AND {_LIVE})
        AND NOT EXISTS (SELECT 1 FROM timer x WHERE x.workflow_id = w.id)
        AND NOT EXISTS (SELECT 1 FROM send x WHERE x.workflow_id = w.id)""",
    "an ended run has no live task": f"""
        SELECT hex(w.id), t.seq FROM workflow w JOIN task t ON t.workflow_id = w.id
        WHERE NOT {_OPEN} AND {_LIVE}""",
    "a queue row belongs to a live task": f"""
        SELECT q.queue, hex(q.task_id) FROM queue q
        LEFT JOIN task t ON t.task_id = q.task_id AND {_LIVE}
        LEFT JOIN workflow w ON w.id = t.workflow_id AND {_OPEN}
        WHERE w.id IS NULL OR q.workflow_id <> w.id""",
    "a lease belongs to a live task": f"""
        SELECT l.queue, hex(l.task_id) FROM lease l
        LEFT JOIN task t ON t.task_id = l.task_id AND {_LIVE}
        LEFT JOIN workflow w ON w.id = t.workflow_id AND {_OPEN}
        WHERE w.id IS NULL OR l.workflow_id <> w.id""",
    "a timer belongs to a live task or an open run": f"""
        SELECT hex(x.workflow_id), hex(x.task_id), x.kind FROM timer x
        LEFT JOIN workflow w ON w.id = x.workflow_id AND {_OPEN}
        LEFT JOIN task t ON t.task_id = x.task_id AND t.workflow_id = w.id AND {_LIVE}
        WHERE w.id IS NULL OR (length(x.task_id) > 0 AND t.task_id IS NULL)""",
    "no task is both queued and leased": """
        SELECT hex(task_id) FROM queue WHERE task_id IN (SELECT task_id FROM lease)""",
    "a worker's live task is queued, leased or delayed": f"""
        SELECT hex(t.task_id) FROM task t JOIN workflow w ON w.id = t.workflow_id
        WHERE {_OPEN} AND {_LIVE} AND t.doc ->> 'qu' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM queue x WHERE x.task_id = t.task_id)
        AND NOT EXISTS (SELECT 1 FROM lease x WHERE x.task_id = t.task_id)
        AND NOT EXISTS (SELECT 1 FROM timer x
                        WHERE x.workflow_id = w.id AND x.task_id = t.task_id)""",
    "a run has one journal row for each version": """
        SELECT hex(w.id), w.version, count(j.version), max(j.version) FROM workflow w
        LEFT JOIN journal j ON j.workflow_id = w.id GROUP BY w.id
        HAVING count(j.version) <> w.version OR max(j.version) <> w.version""",
    "a journal row belongs to a run, or to one that was removed": """
        SELECT hex(workflow_id) FROM journal
        WHERE workflow_id NOT IN (SELECT id FROM workflow)
        AND workflow_id NOT IN (SELECT workflow_id FROM journal WHERE kind = 'remove')""",
    "a removed run is gone": """
        SELECT hex(id) FROM workflow
        WHERE id IN (SELECT workflow_id FROM journal WHERE kind = 'remove')""",
    "a task was last written by a version of its run": """
        SELECT hex(t.task_id) FROM task t LEFT JOIN workflow w ON w.id = t.workflow_id
        WHERE w.id IS NULL OR t.version > w.version""",
    "a Send is for a run that exists, or starts one": """
        SELECT id, CAST(doc AS TEXT) FROM send WHERE CAST(doc AS TEXT) ->> 'type' <> 'start'
        AND workflow_id NOT IN (SELECT id FROM workflow)""",
    "a payload belongs to a run": """
        SELECT hex(workflow_id), seq, part FROM payload
        WHERE workflow_id NOT IN (SELECT id FROM workflow)""",
    "the file is whole": "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
}


def scan(path: Path) -> list[str]:
    """Return every breach of a rule; empty for a store that is as it must be."""
    with closing(sqlite3.connect(path)) as connection:
        faults = [
            f"{rule}: {row}"
            for rule, statement in RULES.items()
            for row in connection.execute(statement)
        ]
        return faults + _scan_journal(connection)


def open_runs(path: Path) -> int:
    """Count the runs that have not ended."""
    with closing(sqlite3.connect(path)) as connection:
        [[count]] = connection.execute(f"SELECT count(*) FROM workflow w WHERE {_OPEN}")
        return int(count)


def _scan_journal(connection: sqlite3.Connection) -> list[str]:
    """Fold each run's journal: it gives the stored headers, and no task ends twice."""
    entries: dict[bytes, list[tuple[int, int, bytes]]] = defaultdict(list)
    for run, *entry in connection.execute(
        "SELECT workflow_id, version, at, changed FROM journal ORDER BY workflow_id, version"
    ):
        entries[run].append((entry[0], entry[1], entry[2]))
    tasks: dict[bytes, dict[int, Task]] = defaultdict(dict)
    for run, seq, document in connection.execute(
        "SELECT workflow_id, seq, doc FROM task WHERE NOT retired"
    ):
        tasks[run][seq] = msgspec.json.decode(document, type=Task)
    faults = []
    for run, version, document in connection.execute("SELECT id, version, doc FROM workflow"):
        header, folded = fold(entries[run])
        stored = replace(msgspec.json.decode(document, type=Workflow), version=version)
        name = run.hex()
        if header is None or _timeless(header) != _timeless(stored):
            faults.append(f"the journal of {name} gives another header: {header} not {stored}")
        if _all_timeless(folded) != _all_timeless(tasks[run]):
            faults.append(f"the journal of {name} gives other tasks")
        faults += [f"task {seq} of {name} ended twice" for seq in _ended_twice(entries[run])]
    return faults


def _timeless(record: Any) -> Any:
    return replace(record, updated_at_ms=0)


def _all_timeless(tasks: dict[int, Task]) -> dict[int, Task]:
    return {seq: _timeless(task) for seq, task in tasks.items()}


def _ended_twice(entries: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the tasks whose end was followed by another one, without being revived between."""
    now: dict[int, TaskStatus] = {}
    found = []
    for _, _, document in entries:
        for seq, changed in json.loads(document).get("t", {}).items():
            before, after = now.get(int(seq)), changed.get("s")
            if after is None:
                continue
            now[int(seq)] = TaskStatus(after)
            # What settles an ended task (its successor is computed) may name its status again;
            # a second end has a time of its own.
            was_ended = before is not None and before.is_terminal
            if was_ended and now[int(seq)].is_terminal and "ea" in changed:
                found.append(int(seq))
    return found
