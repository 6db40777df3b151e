"""What each command does to a run: reports, timers and leases; operations on the whole of it."""
