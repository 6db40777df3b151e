-- Which front door a run came by. Its lists are of ended runs, the newest first; a run that came by
-- none is in no index. A document may hold the escape of NUL, see 0002.

ALTER TABLE workflow ADD COLUMN dialect text COLLATE "C" NOT NULL DEFAULT '';

UPDATE workflow SET dialect = read.doc ->> 'di'
FROM (
    SELECT id, replace(convert_from(doc, 'UTF8'), '\u0000', '\ufffd')::json AS doc FROM workflow
) AS read
WHERE read.id = workflow.id AND read.doc ->> 'di' IS NOT NULL;

CREATE INDEX workflow_dialect ON workflow (dialect, ended_at, id) WHERE dialect <> '';
