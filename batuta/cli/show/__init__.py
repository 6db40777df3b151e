"""How a run looks on a terminal, and how its progress reads in a log."""
