-- How far each reader of the journal has come, and which node reads for it until when.
CREATE TABLE cursor (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    position bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    until bigint NOT NULL
);
