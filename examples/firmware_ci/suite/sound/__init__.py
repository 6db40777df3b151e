"""Reading sound, and what it says of itself: with the standard library alone."""
