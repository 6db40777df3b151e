"""Finding and removing what is old, on PostgreSQL."""
