"""Definitions: read, judged, and the durations that stand in them."""
