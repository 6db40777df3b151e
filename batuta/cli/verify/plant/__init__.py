"""What the checks look at: a server, workers and devices, all for the time of the check."""
