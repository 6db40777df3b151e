"""How it runs: the only layer with a clock and a loop."""
