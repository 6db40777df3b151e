# ruff: noqa: S608 - the statements are put together from constants of this file
"""What is true of the rows of a SQLite database whenever no server has it, each rule by SQL."""

from batuta.model.execution import WorkflowStatus
from batuta.store.blob.reference import REFERENCE_BYTES

_LIVE = "coalesce(t.doc ->> 's', 'SCHEDULED') IN ('SCHEDULED', 'IN_PROGRESS') AND NOT t.retired"
_STATUSES = ", ".join(f"'{status.value}'" for status in WorkflowStatus)
_OPEN = "w.status IN ('RUNNING', 'PAUSED')"

# No task is polled or counted so often: what is beyond has not been written by a server.
_COUNT_MAX = 2**32


def _no_json(table: str, key: str, parts: tuple[str, ...]) -> str:
    """Give the payloads in a table that are no JSON; one as short as a reference may be one."""
    return " UNION ALL ".join(
        f"SELECT hex({key}), '{part}' FROM {table} WHERE {part} IS NOT NULL"
        f" AND {part}_size <> {REFERENCE_BYTES} AND NOT json_valid(CAST({part} AS TEXT))"
        for part in parts
    )


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
        WHERE t.version > w.version OR (w.id IS NULL AND t.workflow_id NOT IN (
            SELECT workflow_id FROM journal WHERE kind = 'remove'))""",
    "a Send is for a run that exists, or starts one": """
        SELECT id, CAST(doc AS TEXT) FROM send WHERE CAST(doc AS TEXT) ->> 'type' <> 'start'
        AND workflow_id NOT IN (SELECT id FROM workflow)""",
    "a payload belongs to a run": """
        SELECT hex(workflow_id), seq, part FROM payload
        WHERE workflow_id NOT IN (SELECT id FROM workflow)
        AND workflow_id NOT IN (SELECT workflow_id FROM journal WHERE kind = 'remove')""",
    "a definition can be read": """
        SELECT kind, name, version FROM document WHERE NOT json_valid(CAST(body AS TEXT))
        UNION ALL
        SELECT 'snapshot', digest, 0 FROM snapshot WHERE NOT json_valid(CAST(body AS TEXT))""",
    "a definition has the name that it is registered by": """
        SELECT kind, name, version FROM document
        WHERE kind IN ('workflow_def', 'task_def') AND name IS NOT (
            CASE WHEN json_valid(CAST(body AS TEXT)) THEN CAST(body AS TEXT) ->> 'name' END)""",
    "an open run has its definition": f"""
        SELECT hex(id), definition FROM workflow w
        WHERE {_OPEN} AND definition NOT IN (SELECT digest FROM snapshot)""",
    "a run's status has a name": f"""
        SELECT hex(id), CAST(status AS BLOB) FROM workflow WHERE status NOT IN ({_STATUSES})""",
    "a task's large payloads are there": """
        SELECT hex(t.workflow_id), t.seq FROM task t
        LEFT JOIN payload i ON i.workflow_id = t.workflow_id AND i.seq = t.seq AND i.part = 'input'
        LEFT JOIN payload o ON o.workflow_id = t.workflow_id AND o.seq = t.seq AND o.part = 'output'
        WHERE (t.input IS NULL AND t.input_size IS NOT NULL AND i.seq IS NULL)
        OR (t.output IS NULL AND t.output_size IS NOT NULL AND o.seq IS NULL)""",
    "a payload is JSON": f"""
        {_no_json("workflow", "id", ("input", "output", "variables"))}
        UNION ALL {_no_json("task", "workflow_id", ("input", "output"))}
        UNION ALL SELECT hex(workflow_id), part FROM payload
        WHERE NOT json_valid(CAST(data AS TEXT))""",
    "a timer is due at a time": """
        SELECT hex(workflow_id), hex(task_id), kind, due_at FROM timer WHERE due_at < 0""",
    "a queue row's numbers are possible": f"""
        SELECT hex(task_id), lease_ms, timeout_ms, poll_count FROM queue
        WHERE lease_ms < 0 OR timeout_ms < 0 OR poll_count NOT BETWEEN 0 AND {_COUNT_MAX}""",
    "a lease ends after it began": f"""
        SELECT hex(task_id), polled_at, expires_at, poll_count FROM lease
        WHERE expires_at < polled_at OR poll_count NOT BETWEEN 1 AND {_COUNT_MAX}""",
    "a log line belongs to a task": """
        SELECT hex(task_id), at FROM log WHERE task_id NOT IN (SELECT task_id FROM task)""",
    "a reservation belongs to a run": """
        SELECT scope, key, hex(workflow_id) FROM reserve
        WHERE workflow_id NOT IN (SELECT id FROM workflow)""",
    "a limit has taken no less than nothing": """
        SELECT key, at, count FROM limit_taken WHERE count < 0""",
    "the file is whole": "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
}
