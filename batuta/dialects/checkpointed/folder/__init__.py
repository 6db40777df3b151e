"""Workflows in folders: finding them, checking them, loading their code."""
