-- Which front door a run came by. Its lists are of ended runs, the newest first; a run that came by
-- none is in no index.

ALTER TABLE workflow ADD COLUMN dialect TEXT NOT NULL DEFAULT '';

UPDATE workflow SET dialect = doc ->> '$.di' WHERE doc ->> '$.di' IS NOT NULL;

CREATE INDEX workflow_dialect ON workflow (dialect, ended_at, id) WHERE dialect <> '';
