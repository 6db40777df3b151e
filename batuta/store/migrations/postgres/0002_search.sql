-- What search needs beside the first schema. Columns of a task that never change have the
-- indexes. A document may hold the escape of NUL, which this database cannot take for text.

ALTER TABLE task
    ADD COLUMN type text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN own_name text COLLATE "C",   -- in the definition; NULL: the same as the type
    ADD COLUMN status text COLLATE "C" NOT NULL DEFAULT 'SCHEDULED';

UPDATE task SET type = read.doc ->> 'ty', own_name = read.doc ->> 'on',
    status = coalesce(read.doc ->> 's', 'SCHEDULED')
FROM (
    SELECT task_id, replace(convert_from(doc, 'UTF8'), '\u0000', '\ufffd')::json AS doc FROM task
) AS read
WHERE read.task_id = task.task_id;

CREATE INDEX workflow_name ON workflow (name, created_at DESC, id);
CREATE INDEX workflow_correlation ON workflow (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX workflow_parent ON workflow (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX task_type ON task (type, task_id);
CREATE INDEX task_own_name ON task (own_name, task_id) WHERE own_name IS NOT NULL;

-- What somebody looks for: few rows of many.
CREATE INDEX task_trouble ON task (task_id) WHERE status IN (
    'COMPLETED_WITH_ERRORS', 'FAILED', 'FAILED_WITH_TERMINAL_ERROR', 'TIMED_OUT', 'CANCELED',
    'SKIPPED'
);
