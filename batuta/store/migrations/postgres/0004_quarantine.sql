-- A row whose command fails keeps how often, why, and when it is tried again. A retry_at of NULL
-- is never: the row is quarantined until somebody re-arms it. Replacing a row clears all three.
-- The sender of a Send that is older than this schema is not known: all zeros.

ALTER TABLE send
    ADD COLUMN sender uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ADD COLUMN attempts bigint NOT NULL DEFAULT 0,
    ADD COLUMN retry_at bigint DEFAULT 0,
    ADD COLUMN error text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE timer
    ADD COLUMN attempts bigint NOT NULL DEFAULT 0,
    ADD COLUMN retry_at bigint DEFAULT 0,
    ADD COLUMN error text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE lease
    ADD COLUMN attempts bigint NOT NULL DEFAULT 0,
    ADD COLUMN retry_at bigint DEFAULT 0,
    ADD COLUMN error text COLLATE "C" NOT NULL DEFAULT '';

-- Each pass reads all pairs of the first one and never a row.
DROP INDEX send_workflow;
CREATE INDEX send_workflow ON send (workflow_id, sender, attempts, id);
CREATE INDEX send_failing ON send (workflow_id, sender, id) WHERE attempts > 0;
DROP INDEX timer_due;
CREATE INDEX timer_due ON timer (due_at) WHERE attempts = 0;
CREATE INDEX timer_failing ON timer (workflow_id) WHERE attempts > 0;
DROP INDEX lease_expires;
CREATE INDEX lease_expires ON lease (expires_at) WHERE attempts = 0;
CREATE INDEX lease_failing ON lease (workflow_id) WHERE attempts > 0;
