"""What is due, and what failed when it was."""
