"""The front doors' names, in the order in which they are shown and asked."""

NAMES = ("flow", "dag", "firmware", "steps", "checkpointed")
