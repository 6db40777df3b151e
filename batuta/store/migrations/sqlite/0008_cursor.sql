-- How far each reader of the journal has come, and which node reads for it until when.
CREATE TABLE cursor (
    name TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
