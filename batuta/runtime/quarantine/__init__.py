"""Rows whose command fails: tried again with back-off, quarantined, re-armed."""
