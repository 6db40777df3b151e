"""How often and how long a node's attempts may try: its policy, and the timers that keep it."""
