"""Retention: which ended runs go, and the loop that removes them in small slices."""
