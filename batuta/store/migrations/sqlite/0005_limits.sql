-- What is held under a limit is counted in the leases themselves: those of parts of queues, whose
-- names have a separator (0x1F) before the limit's key. Leases of other queues are not in it.
CREATE INDEX lease_limit ON lease (substr(queue, instr(queue, char(31)) + 1))
WHERE instr(queue, char(31)) > 0;

CREATE INDEX queue_part ON queue (queue) WHERE instr(queue, char(31)) > 0;

-- How many tasks of a key were taken when; rows go when the window has passed.
CREATE TABLE limit_taken (
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (key, at)
) STRICT, WITHOUT ROWID;

DROP TABLE limit_counter;
