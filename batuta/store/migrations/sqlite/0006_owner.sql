-- The runs of somebody, newest first; most runs are nobody's and are not in it.
CREATE INDEX workflow_owner ON workflow (owner, created_at DESC, id) WHERE owner <> '';
