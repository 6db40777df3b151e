"""Measurements: what the engine does on this machine, in one run, with the machine's noise."""
