"""The graph engine: workflows of nodes and edges, runs with tasks and logs."""
