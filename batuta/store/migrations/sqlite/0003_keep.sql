-- What retention looks for: ended runs in the order of their end, retired tasks, removals.

CREATE INDEX workflow_ended ON workflow (name, ended_at, id, status) WHERE ended_at > 0;
CREATE INDEX task_retired ON task (workflow_id, seq) WHERE retired = 1;
CREATE INDEX journal_removed ON journal (at) WHERE kind = 'remove';
