"""Handlers of the route table off the hot path, a file for each kind of thing."""
