"""Conductor's REST API over the engine: one route table, one door, one table of errors."""

from batuta.api.server import create_app

__all__ = ["create_app"]
