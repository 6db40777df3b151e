"""Runs of the engine as jobs: their words, their events, and whose they are."""
