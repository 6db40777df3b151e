-- What is held under a limit is counted in the leases themselves: those of parts of queues, whose
-- names have a separator (0x1F) before the limit's key. Leases of other queues are not in it.
CREATE INDEX lease_limit ON lease (split_part(queue, chr(31), 2)) WHERE strpos(queue, chr(31)) > 0;

CREATE INDEX queue_part ON queue (queue) WHERE strpos(queue, chr(31)) > 0;

-- How many tasks of a key were taken when; rows go when the window has passed.
CREATE TABLE limit_taken (
    key text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (key, at)
);

DROP TABLE limit_counter;
