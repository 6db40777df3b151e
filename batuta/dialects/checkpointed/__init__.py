"""Class workflows: steps as methods in Python files, checkpoints, retries for a reason."""
