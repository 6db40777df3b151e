"""How far each reader of the journal has come, in SQLite."""
