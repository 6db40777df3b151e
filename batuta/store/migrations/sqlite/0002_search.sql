-- What search needs beside the first schema. Columns of a task that never change have the
-- indexes, so that updating a task leaves these alone.

ALTER TABLE task ADD COLUMN type TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN own_name TEXT;    -- in the definition; NULL: the same as the type
ALTER TABLE task ADD COLUMN status TEXT NOT NULL DEFAULT 'SCHEDULED';

UPDATE task SET
    type = doc ->> '$.ty', own_name = doc ->> '$.on',
    status = coalesce(doc ->> '$.s', 'SCHEDULED');

CREATE INDEX workflow_name ON workflow (name, created_at DESC, id);
CREATE INDEX task_type ON task (type, task_id);
CREATE INDEX task_own_name ON task (own_name, task_id) WHERE own_name IS NOT NULL;

-- What somebody looks for: few rows of many.
CREATE INDEX task_trouble ON task (task_id) WHERE status IN (
    'COMPLETED_WITH_ERRORS', 'FAILED', 'FAILED_WITH_TERMINAL_ERROR', 'TIMED_OUT', 'CANCELED',
    'SKIPPED'
);
