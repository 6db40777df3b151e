"""Following a run as it goes: what event streams and front doors are told of."""
