"""DAG: nodes that run as soon as what leads to them has ended. See docs/design/010-dag.md."""
