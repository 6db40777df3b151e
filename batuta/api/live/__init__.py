"""What a page or a program is told of a run while it goes."""
