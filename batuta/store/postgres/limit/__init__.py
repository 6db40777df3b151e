"""Claims under limits, in PostgreSQL."""
