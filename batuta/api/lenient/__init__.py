"""Calls that Conductor OSS lacks and that guides written for it make all the same."""
