"""Claims under limits, in SQLite."""
