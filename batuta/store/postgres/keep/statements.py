"""The SQL of retention. Locks are taken as by a commit: runs by id, the journal's head last."""

# ruff: noqa: S608 - what is put into the SQL here are expressions of this module

# Walks from name to name, not over every run.
NAMES = """
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM workflow WHERE ended_at > 0
    UNION ALL
    SELECT (SELECT min(w.name) FROM workflow AS w WHERE w.ended_at > 0 AND w.name > found.name)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL ORDER BY name
"""

_OF_NAME = "w.name = $1::text AND w.ended_at > 0 AND w.status = ANY($2::text[])"
CUT = f"""
SELECT w.ended_at, w.id::text FROM workflow AS w WHERE {_OF_NAME}
ORDER BY w.ended_at DESC, w.id DESC LIMIT 1 OFFSET $3::bigint - 1
"""

_IS_FREE = """
w.status NOT IN ('RUNNING', 'PAUSED')
AND NOT EXISTS (SELECT FROM send WHERE send.workflow_id = w.id)
AND NOT EXISTS (
    WITH RECURSIVE above (id) AS (
        SELECT w.parent_id
        UNION
        SELECT parent.parent_id FROM above JOIN workflow AS parent ON parent.id = above.id
    )
    SELECT FROM above JOIN workflow AS parent ON parent.id = above.id
    WHERE parent.status IN ('RUNNING', 'PAUSED')
)
"""
FOUND = f"""
SELECT w.id::text, w.version FROM workflow AS w
WHERE {_OF_NAME} AND (w.ended_at, w.id) < ($3::bigint, $4::uuid) AND {_IS_FREE}
ORDER BY w.ended_at, w.id LIMIT $5
"""

# Runs that a commit has in hand are passed over: it moves them on.
LOCK = """
SELECT id FROM workflow WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE SKIP LOCKED
"""
PURGED = f"""
SELECT w.id::text, w.version
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (id, version)
JOIN workflow AS w ON w.id = wanted.id AND w.version = wanted.version
WHERE w.id = ANY($3::uuid[]) AND {_IS_FREE}
"""
PURGE = (
    "DELETE FROM timer WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM lease WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM reserve WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM workflow WHERE id = ANY($1::uuid[])",
)

TASKS_OF = "SELECT task_id FROM task WHERE workflow_id = ANY($1::uuid[]) LIMIT $2"
RETIRED = """
SELECT task.task_id FROM task
JOIN journal AS j ON j.workflow_id = task.workflow_id AND j.version = task.version
WHERE task.retired AND j.at < $1 LIMIT $2
"""
DELETE_TASKS = (
    "DELETE FROM queue WHERE task_id = ANY($1::uuid[])",
    "DELETE FROM log WHERE task_id = ANY($1::uuid[])",
    "DELETE FROM task WHERE task_id = ANY($1::uuid[])",
)

REMOVALS = """
SELECT j.workflow_id FROM journal AS j
WHERE j.kind = 'remove' AND j.at < $1
AND j.position <= $2 AND j.position < (SELECT max(position) FROM journal)
AND NOT EXISTS (SELECT FROM workflow AS w WHERE w.id = j.workflow_id)
ORDER BY j.at LIMIT $3
"""
# The removal itself goes last: while it is there, the rest is found again.
ENTRIES = """
DELETE FROM journal WHERE position IN (
    SELECT position FROM journal
    WHERE workflow_id = ANY($1::uuid[]) AND (kind = 'remove') = $2::boolean
    AND position < (SELECT max(position) FROM journal) LIMIT $3
)
"""
