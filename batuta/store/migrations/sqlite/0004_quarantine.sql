-- A row whose command fails keeps how often, why, and when it is tried again. A retry_at of NULL
-- is never: the row is quarantined until somebody re-arms it. Replacing a row clears all three.

ALTER TABLE send ADD COLUMN sender BLOB NOT NULL DEFAULT x'';  -- a run; empty: not known
ALTER TABLE send ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE send ADD COLUMN retry_at INTEGER DEFAULT 0;
ALTER TABLE send ADD COLUMN error TEXT NOT NULL DEFAULT '';

ALTER TABLE timer ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE timer ADD COLUMN retry_at INTEGER DEFAULT 0;
ALTER TABLE timer ADD COLUMN error TEXT NOT NULL DEFAULT '';

ALTER TABLE lease ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN retry_at INTEGER DEFAULT 0;
ALTER TABLE lease ADD COLUMN error TEXT NOT NULL DEFAULT '';

-- Each pass reads all pairs of the first one and never a row.
DROP INDEX send_target;
CREATE INDEX send_target ON send (workflow_id, sender, attempts);
CREATE INDEX send_failing ON send (workflow_id, sender) WHERE attempts > 0;
DROP INDEX timer_due;
CREATE INDEX timer_due ON timer (due_at) WHERE attempts = 0;
CREATE INDEX timer_failing ON timer (workflow_id) WHERE attempts > 0;
DROP INDEX lease_expiry;
CREATE INDEX lease_expiry ON lease (expires_at) WHERE attempts = 0;
CREATE INDEX lease_failing ON lease (workflow_id) WHERE attempts > 0;
