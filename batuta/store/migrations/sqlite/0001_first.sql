-- The state of runs. Ids are 16 bytes; instants are Unix ms; every payload is UTF-8 JSON, as it
-- came. Rowid tables where a row may be large: new rows of a batch then share pages.

CREATE TABLE workflow (
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    definition_version INTEGER NOT NULL,
    status TEXT NOT NULL,
    correlation_id TEXT,
    parent_id BLOB,
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    doc TEXT NOT NULL,
    input BLOB,            -- NULL with a size: the bytes are in the payload table
    input_size INTEGER,
    output BLOB,
    output_size INTEGER,
    variables BLOB,
    variables_size INTEGER
) STRICT;

CREATE INDEX workflow_created ON workflow (created_at DESC, id);
CREATE INDEX workflow_status ON workflow (status, created_at DESC, id);
CREATE INDEX workflow_correlation ON workflow (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX workflow_parent ON workflow (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE task (
    workflow_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    task_id BLOB NOT NULL UNIQUE CHECK (length(task_id) = 16),
    version INTEGER NOT NULL,   -- of the run, when this row was last written
    retired INTEGER NOT NULL DEFAULT 0,
    doc TEXT NOT NULL,
    input BLOB,
    input_size INTEGER,
    output BLOB,
    output_size INTEGER,
    UNIQUE (workflow_id, seq)
) STRICT;

CREATE TABLE payload (
    workflow_id BLOB NOT NULL,
    seq INTEGER NOT NULL,       -- 0: of the run itself
    part TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (workflow_id, seq, part)
) STRICT;

-- A row is ready now. The key is the order of hand-out; rank is the priority, negated.
CREATE TABLE queue (
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL,
    at INTEGER NOT NULL,
    task_id BLOB NOT NULL UNIQUE CHECK (length(task_id) = 16),
    workflow_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    lease_ms INTEGER NOT NULL,
    timeout_ms INTEGER NOT NULL,
    poll_count INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    PRIMARY KEY (queue, rank, at, task_id)
) STRICT, WITHOUT ROWID;

-- rank, queued_at and seq are what the queue row had, for the task that is given back.
CREATE TABLE lease (
    workflow_id BLOB NOT NULL CHECK (length(workflow_id) = 16),
    task_id BLOB NOT NULL CHECK (length(task_id) = 16),
    queue TEXT NOT NULL,
    worker_id TEXT,
    poll_count INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    polled_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    lease_ms INTEGER NOT NULL,
    timeout_ms INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, task_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX lease_expiry ON lease (expires_at);

CREATE TABLE timer (
    workflow_id BLOB NOT NULL CHECK (length(workflow_id) = 16),
    task_id BLOB NOT NULL,      -- empty: of the run itself
    kind TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, task_id, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX timer_due ON timer (due_at);

CREATE TABLE send (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again: a DropSend names one for good
    workflow_id BLOB NOT NULL CHECK (length(workflow_id) = 16),
    doc BLOB NOT NULL
) STRICT;

CREATE INDEX send_target ON send (workflow_id);

CREATE TABLE reserve (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    workflow_id BLOB NOT NULL CHECK (length(workflow_id) = 16),
    until INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX reserve_holder ON reserve (workflow_id);

-- The order of positions is the order of commits.
CREATE TABLE journal (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow_id BLOB NOT NULL CHECK (length(workflow_id) = 16),
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    changed BLOB NOT NULL,
    UNIQUE (workflow_id, version)
) STRICT;

CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    task_id BLOB NOT NULL CHECK (length(task_id) = 16),
    at INTEGER NOT NULL,
    line TEXT NOT NULL
) STRICT;

CREATE INDEX log_task ON log (task_id, id);

CREATE TABLE document (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name, version)
) STRICT;

CREATE TABLE snapshot (
    digest TEXT NOT NULL PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- One row for each limit (of a queue, a window, a rate limit key) that claims count against.
CREATE TABLE limit_counter (
    key TEXT NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL,
    window_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
