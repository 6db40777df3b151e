"""The step orchestrator: a linked list of functions, paths into a payload, instances."""
