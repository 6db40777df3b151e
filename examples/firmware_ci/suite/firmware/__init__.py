"""Building firmware, what a build's log says, and keeping what was built."""
