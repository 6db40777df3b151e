"""What fails when it is due, and what stays in order all the same."""
