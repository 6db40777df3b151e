"""A run whose tasks are answered by mocks: the engine's own decisions, and nothing is kept."""
