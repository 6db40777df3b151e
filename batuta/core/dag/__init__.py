"""What the edges of a DAG say of its nodes; what runs by them is in core/tasks/dag."""
