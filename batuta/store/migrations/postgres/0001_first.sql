-- The first schema. Ids are UUIDs; documents and payloads are UTF-8 JSON bytes, never jsonb,
-- so that they come back byte for byte. Text that is compared or sorted uses the C collation,
-- which is the order of every other store. Instants are Unix ms.

CREATE TABLE workflow (
    id uuid PRIMARY KEY,
    version bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    definition text COLLATE "C" NOT NULL,
    definition_version bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    correlation_id text COLLATE "C",
    parent_id uuid,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    priority bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    ended_at bigint NOT NULL,
    doc bytea NOT NULL,
    input bytea,
    output bytea,
    variables bytea
) WITH (fillfactor = 80);
-- Large payloads lie beside the row (TOAST). Uncompressed, so that their size is known without
-- reading them and the server spends no time on squeezing them.
ALTER TABLE workflow
    ALTER COLUMN input SET STORAGE EXTERNAL,
    ALTER COLUMN output SET STORAGE EXTERNAL,
    ALTER COLUMN variables SET STORAGE EXTERNAL;
CREATE INDEX workflow_recent ON workflow (created_at DESC, id);
CREATE INDEX workflow_status ON workflow (status, created_at DESC, id);
CREATE INDEX workflow_open ON workflow (name, created_at)
    WHERE status IN ('RUNNING', 'PAUSED');

CREATE TABLE task (
    workflow_id uuid NOT NULL,
    seq bigint NOT NULL,
    task_id uuid NOT NULL UNIQUE,
    version bigint NOT NULL,
    retired boolean NOT NULL DEFAULT false,
    doc bytea NOT NULL,
    input bytea,
    output bytea,
    PRIMARY KEY (workflow_id, seq)
);
ALTER TABLE task
    ALTER COLUMN input SET STORAGE EXTERNAL,
    ALTER COLUMN output SET STORAGE EXTERNAL;
-- What is newer than a version is found without reading the run's other tasks.
CREATE INDEX task_version ON task (workflow_id, version);

-- Rows of queue are inserted and deleted, never updated, by the path of every step.
CREATE TABLE queue (
    task_id uuid PRIMARY KEY,
    workflow_id uuid NOT NULL,
    seq bigint NOT NULL,
    queue text COLLATE "C" NOT NULL,
    priority bigint NOT NULL,
    at bigint NOT NULL,
    lease_ms bigint NOT NULL,
    timeout_ms bigint NOT NULL,
    poll_count bigint NOT NULL,
    started_at bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX queue_order ON queue (queue, priority DESC, at, task_id);

-- The columns from seq on are the task's place in its queue, for a lease that is given back.
CREATE TABLE lease (
    task_id uuid PRIMARY KEY,
    workflow_id uuid NOT NULL,
    queue text COLLATE "C" NOT NULL,
    worker_id text COLLATE "C",
    poll_count bigint NOT NULL,
    started_at bigint NOT NULL,
    polled_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    lease_ms bigint NOT NULL,
    timeout_ms bigint NOT NULL,
    seq bigint NOT NULL,
    priority bigint NOT NULL,
    queued_at bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX lease_expires ON lease (expires_at);
CREATE INDEX lease_workflow ON lease (workflow_id);
CREATE INDEX lease_queue ON lease (queue);

-- A timer of the whole run has the task id of all zeros.
CREATE TABLE timer (
    workflow_id uuid NOT NULL,
    task_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    due_at bigint NOT NULL,
    PRIMARY KEY (workflow_id, task_id, kind)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX timer_due ON timer (due_at);

CREATE TABLE send (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workflow_id uuid NOT NULL,
    doc bytea NOT NULL
);
CREATE INDEX send_workflow ON send (workflow_id);

-- The key is bytes: it comes from users, and text cannot hold every character of JSON.
CREATE TABLE reserve (
    scope text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    workflow_id uuid NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX reserve_workflow ON reserve (workflow_id);

CREATE TABLE journal (
    position bigint PRIMARY KEY,
    workflow_id uuid NOT NULL,
    version bigint NOT NULL,
    at bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    changed bytea NOT NULL,
    UNIQUE (workflow_id, version)
);

-- One row: the last position of the journal and the newest time committed. Each batch updates
-- it as its last statement, so that positions are in commit order and without gaps.
CREATE TABLE journal_head (
    id integer PRIMARY KEY CHECK (id = 1),
    position bigint NOT NULL,
    at bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO journal_head (id, position, at) VALUES (1, 0, 0);

CREATE TABLE log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    at bigint NOT NULL,
    line bytea NOT NULL
);
CREATE INDEX log_task ON log (task_id, id);
CREATE INDEX log_workflow ON log (workflow_id);

CREATE TABLE document (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (kind, name, version)
);

CREATE TABLE snapshot (
    digest text COLLATE "C" PRIMARY KEY,
    body bytea NOT NULL
);

-- One row for each limited key: concurrent executions, or those of a window.
CREATE TABLE limit_counter (
    key text COLLATE "C" PRIMARY KEY,
    count bigint NOT NULL,
    window_at bigint NOT NULL
);
