"""Finding and removing what is old, on SQLite."""
