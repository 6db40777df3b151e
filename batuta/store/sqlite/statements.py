"""The SQL of a commit, by what it writes. ``trigger`` puts the parts together.

``{name}`` stands for a column of the trigger's view: an array of rows as ``merge.Tables`` says,
store time, or the blob.
"""

# ruff: noqa: S608 - what is put into the SQL here are names and numbers of this module

from batuta.store.merge import PAYLOAD_INLINE_BYTES_MAX


def uuid(column: str) -> str:
    """Return the SQL of an id's text form."""
    parts = ", ".join(f"hex(substr({column}, {at}, {size}))" for at, size in _UUID_PARTS)
    return f"lower(format('%s-%s-%s-%s-%s', {parts}))"


_UUID_PARTS = ((1, 4), (5, 2), (7, 2), (9, 2), (11, 6))


def _bytes(at: int) -> str:
    return f"substr({{blob}}, (value ->> {at}) + 1, value ->> {at + 1})"


def _payload(at: int) -> str:
    inline = f"CASE WHEN value ->> {at + 1} <= {PAYLOAD_INLINE_BYTES_MAX} THEN {_bytes(at)} END"
    return f"{inline}, value ->> {at + 1}"


def _kept(part: str) -> str:
    """Return the SQL that replaces a payload only where one is given."""
    return (
        f"{part} = CASE WHEN excluded.{part}_size IS NULL THEN {part} ELSE excluded.{part} END,"
        f" {part}_size = coalesce(excluded.{part}_size, {part}_size)"
    )


# What may not be written: (kind, d, who holds it). "rival": a decision of the same batch.
CHECK = f"""
SELECT 'stale' AS kind, value ->> 0 AS d, NULL AS holder FROM jsonb_each({{versions}})
WHERE (SELECT version FROM workflow WHERE id = unhex(value ->> 1, '-'))
    IS NOT nullif(value ->> 2, 0)
UNION ALL
SELECT 'stale', value ->> 0, NULL
FROM jsonb_each({{releases}}) LEFT JOIN lease
    ON workflow_id = unhex(value ->> 1, '-') AND task_id = unhex(value ->> 2, '-')
WHERE value ->> 3 IS NOT NULL
    AND (coalesce(poll_count, 0) <> value ->> 3 OR expires_at > value ->> 4)
UNION ALL
SELECT 'stale', value ->> 0, NULL FROM jsonb_each({{drops}})
WHERE NOT EXISTS (SELECT 1 FROM send WHERE id = value ->> 1)
UNION ALL
SELECT 'stale', value ->> 0, NULL FROM jsonb_each({{in_place}})
WHERE EXISTS (
    SELECT 1 FROM send WHERE workflow_id = unhex(value ->> 2, '-')
    AND sender = unhex(value ->> 1, '-')
)
UNION ALL
SELECT 'rival', late.value ->> 0, NULL
FROM jsonb_each({{drops}}) early JOIN jsonb_each({{drops}}) late
    ON early.value ->> 1 = late.value ->> 1 AND early.key < late.key
UNION ALL
SELECT 'taken', value ->> 0, {uuid("workflow_id")}
FROM jsonb_each({{reserves}}) CROSS JOIN reserve
    ON reserve.scope = value ->> 1 AND reserve.key = value ->> 2
WHERE workflow_id <> unhex(value ->> 3, '-') AND until > {{now}}
UNION ALL
SELECT 'rival', late.value ->> 0, early.value ->> 3
FROM jsonb_each({{reserves}}) early JOIN jsonb_each({{reserves}}) late
    ON early.value ->> 1 = late.value ->> 1 AND early.value ->> 2 = late.value ->> 2
WHERE early.value ->> 0 < late.value ->> 0 AND early.value ->> 3 <> late.value ->> 3
"""

RECORDS = f"""
INSERT INTO workflow (
    id, version, name, definition, definition_version, status, correlation_id, parent_id, owner,
    dialect, created_at, updated_at, ended_at, priority, doc,
    input, input_size, output, output_size, variables, variables_size
) SELECT
    unhex(value ->> '$[0].id', '-'), value ->> 1, value ->> '$[0].n', value ->> '$[0].d',
    coalesce(value ->> '$[0].dv', 1), coalesce(value ->> '$[0].s', 'RUNNING'),
    value ->> '$[0].co', unhex(value ->> '$[0].pi', '-'), coalesce(value ->> '$[0].ow', ''),
    coalesce(value ->> '$[0].di', ''), coalesce(value ->> '$[0].ca', 0), value ->> 2,
    coalesce(value ->> '$[0].ea', 0), coalesce(value ->> '$[0].p', 0),
    json_remove(value -> 0, '$.v'), {_payload(3)}, {_payload(5)}, {_payload(7)}
FROM jsonb_each({{workflows}}) WHERE true
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version, status = excluded.status,
    correlation_id = excluded.correlation_id, updated_at = excluded.updated_at,
    ended_at = excluded.ended_at, priority = excluded.priority, doc = excluded.doc,
    {_kept("input")}, {_kept("output")}, {_kept("variables")};

-- What only a restart changes: named above, their indexes would be written each time.
UPDATE workflow SET
    definition = value ->> '$[0].d', definition_version = coalesce(value ->> '$[0].dv', 1),
    created_at = coalesce(value ->> '$[0].ca', 0)
FROM jsonb_each({{workflows}}) WHERE workflow.id = unhex(value ->> '$[0].id', '-')
    AND (created_at, definition) IS NOT (coalesce(value ->> '$[0].ca', 0), value ->> '$[0].d');

UPDATE workflow SET version = value ->> 1, updated_at = value ->> 2
FROM jsonb_each({{bumps}}) WHERE workflow.id = unhex(value ->> 0, '-');

INSERT INTO task (
    workflow_id, version, seq, task_id, type, own_name, status, doc,
    input, input_size, output, output_size
) SELECT
    unhex(value ->> 0, '-'), value ->> 1, value ->> '$[2].q', unhex(value ->> '$[2].id', '-'),
    value ->> '$[2].ty', value ->> '$[2].on', coalesce(value ->> '$[2].s', 'SCHEDULED'),
    value -> 2, {_payload(3)}, {_payload(5)}
FROM jsonb_each({{tasks}}) WHERE true
ON CONFLICT (workflow_id, seq) DO UPDATE SET
    version = excluded.version, status = excluded.status, doc = excluded.doc,
    {_kept("input")}, {_kept("output")};
"""

HANDS = """
DELETE FROM lease WHERE (workflow_id, task_id) IN (
    SELECT unhex(value ->> 1, '-'), unhex(value ->> 2, '-')
    FROM jsonb_each({releases}) WHERE value ->> 3 IS NOT 0
);
DELETE FROM queue WHERE task_id IN (
    SELECT unhex(value ->> 2, '-') FROM jsonb_each({releases})
    WHERE coalesce(value ->> 3, 0) = 0
);
INSERT OR REPLACE INTO queue (
    workflow_id, queue, rank, at, task_id, seq, lease_ms, timeout_ms, poll_count, started_at
) SELECT
    unhex(value ->> 0, '-'), value ->> '$[1].queue', -(value ->> '$[1].priority'),
    value ->> '$[1].at_ms', unhex(value ->> '$[1].task_id', '-'), value ->> '$[1].seq',
    value ->> '$[1].lease_ms', value ->> '$[1].timeout_ms', value ->> '$[1].poll_count',
    value ->> '$[1].started_at_ms'
FROM jsonb_each({queued});

INSERT OR REPLACE INTO lease (
    workflow_id, task_id, queue, worker_id, poll_count, started_at, polled_at, expires_at,
    lease_ms, timeout_ms, rank, queued_at, seq
) SELECT
    workflow_id, task_id, value ->> '$.lease.queue', value ->> '$.lease.worker_id',
    value ->> '$.lease.poll_count', value ->> '$.lease.started_at_ms',
    value ->> '$.lease.polled_at_ms', value ->> '$.lease.expires_at_ms',
    value ->> '$.lease.lease_ms', value ->> '$.lease.timeout_ms', -(value ->> 'priority'),
    value ->> 'at_ms', task.seq
FROM jsonb_each({leases})
CROSS JOIN task ON task.task_id = unhex(value ->> '$.lease.task_id', '-');
"""

# What most batches have none of.
REST = f"""
INSERT INTO payload (workflow_id, seq, part, data)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, {_bytes(3)}
FROM jsonb_each({{larges}}) WHERE true
ON CONFLICT (workflow_id, seq, part) DO UPDATE SET data = excluded.data;

UPDATE task SET version = value ->> 1, retired = 1
FROM jsonb_each({{retired}})
WHERE workflow_id = unhex(value ->> 0, '-') AND seq = value ->> 2;

INSERT OR REPLACE INTO timer (workflow_id, task_id, kind, due_at)
SELECT unhex(value ->> 0, '-'), unhex(value ->> 1, '-'), value ->> 2, value ->> 3
FROM jsonb_each({{timers}});

DELETE FROM timer WHERE (workflow_id, task_id, kind) IN (
    SELECT unhex(value ->> 0, '-'), unhex(value ->> 1, '-'), value ->> 2
    FROM jsonb_each({{cleared}})
);
DELETE FROM send WHERE id IN (SELECT value ->> 1 FROM jsonb_each({{drops}}));

INSERT INTO send (workflow_id, doc, sender)
SELECT unhex(value ->> 0, '-'), {_bytes(1)}, unhex(value ->> 3, '-') FROM jsonb_each({{sends}});

INSERT OR REPLACE INTO reserve (scope, key, workflow_id, until)
SELECT value ->> 1, value ->> 2, unhex(value ->> 3, '-'), value ->> 4
FROM jsonb_each({{reserves}});

INSERT INTO log (task_id, at, line)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2 FROM jsonb_each({{logs}});
"""

_REMOVED = "(SELECT unhex(value ->> 0, '-') FROM jsonb_each({removed}))"
_OF_TASKS = f"(SELECT task_id FROM task WHERE workflow_id IN {_REMOVED})"
REMOVAL = f"""
DELETE FROM queue WHERE task_id IN {_OF_TASKS};
DELETE FROM log WHERE task_id IN {_OF_TASKS};
DELETE FROM lease WHERE workflow_id IN {_REMOVED};
DELETE FROM timer WHERE workflow_id IN {_REMOVED};
DELETE FROM send WHERE workflow_id IN {_REMOVED};
DELETE FROM reserve WHERE workflow_id IN {_REMOVED};
DELETE FROM payload WHERE workflow_id IN {_REMOVED};
DELETE FROM task WHERE workflow_id IN {_REMOVED};
DELETE FROM workflow WHERE id IN {_REMOVED};
"""

JOURNAL = f"""
INSERT INTO journal (workflow_id, version, at, kind, actor, request_id, changed)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    {_bytes(6)}
FROM jsonb_each({{entries}});
"""

# From which the answer is read.
TABLES = """
CREATE TEMP TABLE touched (i, workflow_id, task_id, is_given_back);
CREATE TEMP TABLE picked (
    i, workflow_id, task_id, queue, worker_id, poll_count, started_at, lease_ms, timeout_ms,
    rank, queued_at, seq
);
"""

# Heartbeats and what is given back. A touch is (index, task id, poll count, is given back, time of
# the poll, null: not compared).
TOUCHES = """
DELETE FROM touched;

INSERT INTO touched (i, workflow_id, task_id, is_given_back)
SELECT value ->> 0, lease.workflow_id, lease.task_id, value ->> 3
FROM jsonb_each({touches})
CROSS JOIN task ON task.task_id = unhex(value ->> 1, '-')
CROSS JOIN lease ON lease.workflow_id = task.workflow_id AND lease.task_id = task.task_id
    AND lease.poll_count = value ->> 2
    AND coalesce(lease.polled_at = value ->> 4, true);

UPDATE lease SET polled_at = {now}, expires_at = CASE WHEN timeout_ms > 0
    THEN min({now} + lease_ms, started_at + timeout_ms) ELSE {now} + lease_ms END,
    attempts = 0, retry_at = 0, error = ''
WHERE (workflow_id, task_id) IN (
    SELECT workflow_id, task_id FROM touched WHERE NOT is_given_back
);
INSERT INTO queue (
    workflow_id, queue, rank, at, task_id, seq, lease_ms, timeout_ms, poll_count, started_at
) SELECT
    workflow_id, queue, rank, queued_at, task_id, seq, lease_ms, timeout_ms, poll_count - 1,
    CASE WHEN poll_count > 1 THEN started_at ELSE 0 END
FROM lease WHERE (workflow_id, task_id) IN (
    SELECT workflow_id, task_id FROM touched WHERE is_given_back
);
DELETE FROM lease WHERE (workflow_id, task_id) IN (
    SELECT workflow_id, task_id FROM touched WHERE is_given_back
);
"""

# A claim is (index, queue, first, last, worker id): the places in its queue that fall to it.
# Walking from row to row costs one look-up for each task handed out; a window function would
# read the whole queue.
CLAIMS = """
DELETE FROM picked;

INSERT INTO picked (
    i, workflow_id, task_id, queue, worker_id, poll_count, started_at, lease_ms, timeout_ms,
    rank, queued_at, seq
) SELECT
    i, queue.workflow_id, queue.task_id, queue.queue, worker_id,
    queue.poll_count + 1, CASE queue.started_at WHEN 0 THEN {now} ELSE queue.started_at END,
    queue.lease_ms, queue.timeout_ms, queue.rank, queue.at, queue.seq
FROM (
    WITH RECURSIVE asked (i, queue, first, last, worker_id) AS MATERIALIZED (
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
        FROM jsonb_each({claims})
    ), walk (queue, place, last, task_id) AS (
        SELECT whole.queue, 1, whole.last, (
            SELECT task_id FROM queue WHERE queue.queue = whole.queue
            ORDER BY rank, at, task_id LIMIT 1
        ) FROM (SELECT queue, max(last) AS last FROM asked GROUP BY queue) whole
        UNION ALL
        SELECT walk.queue, place + 1, last, (
            SELECT later.task_id FROM queue later WHERE later.queue = here.queue
                AND (later.rank, later.at, later.task_id) > (+here.rank, +here.at, +here.task_id)
            ORDER BY later.rank, later.at, later.task_id LIMIT 1
        ) FROM walk CROSS JOIN queue here ON here.task_id = walk.task_id WHERE place < last
    )
    SELECT i, worker_id, task_id FROM walk CROSS JOIN asked
        ON asked.queue = walk.queue AND place BETWEEN asked.first AND asked.last
    WHERE task_id IS NOT NULL
) found
CROSS JOIN queue ON queue.task_id = found.task_id;

INSERT INTO lease (
    workflow_id, task_id, queue, worker_id, poll_count, started_at, polled_at, expires_at,
    lease_ms, timeout_ms, rank, queued_at, seq
) SELECT
    workflow_id, task_id, queue, worker_id, poll_count, started_at, {now},
    CASE WHEN timeout_ms > 0
        THEN min({now} + lease_ms, started_at + timeout_ms) ELSE {now} + lease_ms END,
    lease_ms, timeout_ms, rank, queued_at, seq
FROM picked;

DELETE FROM queue WHERE task_id IN (SELECT task_id FROM picked);
"""

# What was handed out, as a JSON array of (index of the claim, lease).
PICKED = f"""
SELECT '[' || group_concat(json_array(i, json_object(
    'task_id', {uuid("picked.task_id")}, 'workflow_id', {uuid("picked.workflow_id")},
    'queue', picked.queue, 'worker_id', picked.worker_id, 'poll_count', picked.poll_count,
    'started_at_ms', picked.started_at, 'polled_at_ms', polled_at,
    'expires_at_ms', expires_at, 'lease_ms', picked.lease_ms, 'timeout_ms', picked.timeout_ms
)) ORDER BY picked.rank, picked.queued_at, picked.task_id) || ']'
FROM picked CROSS JOIN lease
    ON lease.workflow_id = picked.workflow_id AND lease.task_id = picked.task_id
"""

# The indexes of the touches that found their lease, as a JSON array.
TOUCHED = "SELECT json_group_array(i) FROM touched"
