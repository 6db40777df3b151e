"""Check lists: their items, what this machine has of them, and how results are told."""
