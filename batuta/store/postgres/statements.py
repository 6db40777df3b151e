"""The SQL of a commit: one statement for each table, its rows as one array for each column.

Lock order, the same for every batch, so that two batches never wait for each other: runs by
id, queue rows by task id, leases by task id, reservations by key; new runs by id; then what
belongs to locked runs; claims wait for nothing (SKIP LOCKED); the journal's head is last.
"""

LOCK_RUNS = """
SELECT id::text, version FROM workflow WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE
"""

# A claim or a give-back of another node moves a task between queue and lease without the run's
# lock. The unlocked look (`seen`) has the same snapshot as the lock: a task that is seen but
# could not be locked is leased, or was until a moment ago; one that is not seen stays away,
# since only the run can offer it.
LOCK_QUEUE = """
WITH locked AS MATERIALIZED (
    SELECT task_id FROM queue WHERE task_id = ANY($1::uuid[]) ORDER BY task_id FOR UPDATE
), seen AS (
    SELECT task_id FROM queue WHERE task_id = ANY($1::uuid[])
    UNION ALL SELECT task_id FROM lease WHERE task_id = ANY($1::uuid[])
)
SELECT seen.task_id::text, locked.task_id IS NOT NULL AS is_locked
FROM seen LEFT JOIN locked ON locked.task_id = seen.task_id
"""

LEASE_COLUMNS = """
    task_id::text, workflow_id::text, queue, worker_id, poll_count, started_at, polled_at,
    expires_at, lease_ms, timeout_ms
"""

LOCK_LEASES = f"""
SELECT {LEASE_COLUMNS}, seq, priority, queued_at
FROM lease WHERE task_id = ANY($1::uuid[]) ORDER BY task_id FOR UPDATE
"""  # noqa: S608 - a constant

READ_SENDS = "SELECT id FROM send WHERE id = ANY($1::bigint[])"

# Asked for while the senders' rows are locked: what they have stored is there, and stays.
READ_PAIRS = """
SELECT DISTINCT send.sender::text, send.workflow_id::text
FROM unnest($1::uuid[], $2::uuid[]) AS v (sender, target)
JOIN send ON send.workflow_id = v.target AND send.sender = v.sender
"""

LOCK_RESERVES = """
SELECT scope, key, workflow_id::text, until FROM reserve
WHERE (scope, key) IN (SELECT * FROM unnest($1::text[], $2::bytea[]))
ORDER BY scope, key FOR UPDATE
"""

# A row that is not counted was taken by another node since it was read: start again.
PUT_RESERVES = """
INSERT INTO reserve AS r (scope, key, workflow_id, until)
SELECT * FROM unnest($1::text[], $2::bytea[], $3::uuid[], $4::bigint[])
ON CONFLICT (scope, key) DO UPDATE SET workflow_id = excluded.workflow_id, until = excluded.until
WHERE r.until <= $5::bigint OR r.workflow_id = excluded.workflow_id
"""

# A row that is not counted was inserted by another node since: start again.
ADD_RUNS = """
INSERT INTO workflow (id, version, name, definition, definition_version, status,
    correlation_id, parent_id, owner, dialect, priority, created_at, updated_at, ended_at, doc,
    input, output, variables)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[],
    $7::text[], $8::uuid[], $9::text[], $10::text[], $11::bigint[], $12::bigint[],
    $13::bigint[], $14::bigint[], $15::bytea[], $16::bytea[], $17::bytea[], $18::bytea[])
ON CONFLICT (id) DO NOTHING
"""

PUT_RUNS = """
UPDATE workflow AS w SET version = v.version, name = v.name, definition = v.definition,
    definition_version = v.definition_version, status = v.status,
    correlation_id = v.correlation_id, parent_id = v.parent_id, owner = v.owner,
    dialect = v.dialect, priority = v.priority, created_at = v.created_at,
    updated_at = v.updated_at, ended_at = v.ended_at, doc = v.doc,
    input = coalesce(v.input, w.input), output = coalesce(v.output, w.output),
    variables = coalesce(v.variables, w.variables)
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[],
    $7::text[], $8::uuid[], $9::text[], $10::text[], $11::bigint[], $12::bigint[],
    $13::bigint[], $14::bigint[], $15::bytea[], $16::bytea[], $17::bytea[], $18::bytea[])
AS v (id, version, name, definition, definition_version, status, correlation_id, parent_id,
    owner, dialect, priority, created_at, updated_at, ended_at, doc, input, output, variables)
WHERE w.id = v.id
"""

PUT_VERSIONS = """
UPDATE workflow AS w SET version = v.version, updated_at = v.updated_at
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS v (id, version, updated_at)
WHERE w.id = v.id
"""

PUT_TASKS = """
INSERT INTO task AS t (workflow_id, seq, task_id, version, type, own_name, status, doc, input,
    output)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[],
    $6::text[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[])
ON CONFLICT (workflow_id, seq) DO UPDATE SET version = excluded.version,
    status = excluded.status, doc = excluded.doc,
    input = coalesce(excluded.input, t.input), output = coalesce(excluded.output, t.output)
"""

RETIRE_TASKS = """
UPDATE task AS t SET retired = true, version = v.version
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS v (workflow_id, seq, version)
WHERE t.workflow_id = v.workflow_id AND t.seq = v.seq
"""

# In the statements that delete and insert, no row is in both lists.
CHANGE_QUEUE = """
WITH gone AS (DELETE FROM queue WHERE task_id = ANY($1::uuid[]))
INSERT INTO queue (task_id, workflow_id, seq, queue, priority, at, lease_ms, timeout_ms,
    poll_count, started_at)
SELECT v.task_id, v.workflow_id,
    coalesce(v.seq, (SELECT t.seq FROM task AS t WHERE t.task_id = v.task_id)),
    v.queue, v.priority, v.at, v.lease_ms, v.timeout_ms, v.poll_count, v.started_at
FROM unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
AS v (task_id, workflow_id, seq, queue, priority, at, lease_ms, timeout_ms, poll_count,
    started_at)
"""

CHANGE_LEASES = """
WITH gone AS (DELETE FROM lease WHERE task_id = ANY($1::uuid[]))
INSERT INTO lease (task_id, workflow_id, queue, worker_id, poll_count, started_at, polled_at,
    expires_at, lease_ms, timeout_ms, seq, priority, queued_at)
SELECT v.task_id, v.workflow_id, v.queue, v.worker_id, v.poll_count, v.started_at, v.polled_at,
    v.expires_at, v.lease_ms, v.timeout_ms,
    coalesce(v.seq, (SELECT t.seq FROM task AS t WHERE t.task_id = v.task_id)),
    v.priority, v.queued_at
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],
    $14::bigint[])
AS v (task_id, workflow_id, queue, worker_id, poll_count, started_at, polled_at, expires_at,
    lease_ms, timeout_ms, seq, priority, queued_at)
ON CONFLICT (task_id) DO UPDATE SET queue = excluded.queue, worker_id = excluded.worker_id,
    poll_count = excluded.poll_count, started_at = excluded.started_at,
    polled_at = excluded.polled_at, expires_at = excluded.expires_at,
    lease_ms = excluded.lease_ms, timeout_ms = excluded.timeout_ms, seq = excluded.seq,
    priority = excluded.priority, queued_at = excluded.queued_at,
    attempts = 0, retry_at = 0, error = ''
"""

CHANGE_TIMERS = """
WITH gone AS (
    DELETE FROM timer USING unnest($1::uuid[], $2::uuid[], $3::text[]) AS v (run, task, kind)
    WHERE timer.workflow_id = v.run AND timer.task_id = v.task AND timer.kind = v.kind
)
INSERT INTO timer (workflow_id, task_id, kind, due_at)
SELECT * FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::bigint[])
ON CONFLICT (workflow_id, task_id, kind) DO UPDATE SET due_at = excluded.due_at,
    attempts = 0, retry_at = 0, error = ''
"""

# The ids are in the order of the rows: the order in which a target consumes them.
CHANGE_SENDS = """
WITH gone AS (DELETE FROM send WHERE id = ANY($1::bigint[]))
INSERT INTO send (workflow_id, doc, sender)
SELECT v.workflow_id, v.doc, v.sender
FROM unnest($2::uuid[], $3::bytea[], $4::uuid[])
    WITH ORDINALITY AS v (workflow_id, doc, sender, place)
ORDER BY v.place
"""

ADD_LOGS = """
INSERT INTO log (task_id, workflow_id, at, line)
SELECT v.task_id, v.workflow_id, v.at, v.line
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[])
    WITH ORDINALITY AS v (task_id, workflow_id, at, line, place)
ORDER BY v.place
"""

# The journal is append-only: it keeps what happened. Queue before lease: a task that a claim
# moves meanwhile is then found in its new place.
REMOVE_RUNS = (
    """
    DELETE FROM queue WHERE task_id IN
        (SELECT task_id FROM task WHERE workflow_id = ANY($1::uuid[]))
    """,
    "DELETE FROM lease WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM timer WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM send WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM log WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM reserve WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM task WHERE workflow_id = ANY($1::uuid[])",
    "DELETE FROM workflow WHERE id = ANY($1::uuid[])",
)

# Each queue stands once in the wishes. Rows that another node is just claiming are passed over.
CLAIM = """
WITH picked AS MATERIALIZED (
    SELECT ready.* FROM unnest($1::text[], $2::bigint[]) AS wish (name, count)
    CROSS JOIN LATERAL (
        SELECT * FROM queue WHERE queue.queue = wish.name
        ORDER BY priority DESC, at, task_id LIMIT wish.count FOR UPDATE SKIP LOCKED
    ) AS ready
), gone AS (
    DELETE FROM queue USING picked WHERE queue.task_id = picked.task_id
)
SELECT task_id::text, workflow_id::text, seq, queue, priority, at, lease_ms, timeout_ms,
    poll_count, started_at
FROM picked ORDER BY queue, priority DESC, at, picked.task_id
"""

# The last statement before COMMIT: positions in commit order, without gaps, since the head row
# stays locked until the commit is durable. Batches without journal rows take no position and
# touch the head only when their time runs ahead of the database's clock.
FINISH = """
WITH head AS (
    UPDATE journal_head SET position = position + $1::bigint, at = greatest(at, $2::bigint)
    WHERE $1 > 0
        OR (at < $2 AND $2 > floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
    RETURNING position - $1 AS base
), written AS (
    INSERT INTO journal (position, workflow_id, version, at, kind, actor, request_id, changed)
    SELECT head.base + v.place, v.workflow_id, v.version, v.at, v.kind, v.actor, v.request_id,
        v.changed
    FROM head CROSS JOIN unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
        $8::text[], $9::bytea[])
        WITH ORDINALITY AS v (workflow_id, version, at, kind, actor, request_id, changed, place)
)
SELECT pg_notify($10::text, $11::text) WHERE $11::text <> ''
"""

IS_GONE = "SELECT NOT EXISTS (SELECT 1 FROM workflow WHERE id = $1::uuid)"
FORGET_SENDS = "DELETE FROM send WHERE workflow_id = $1::uuid"
