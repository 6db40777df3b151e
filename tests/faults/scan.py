"""The scan of a SQLite store that ends each test of a fault; and what is still open in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from batuta.store.sqlite.scan import scan

__all__ = ["open_runs", "scan"]


def open_runs(path: Path) -> int:
    """Count the runs that have not ended."""
    with closing(sqlite3.connect(path)) as connection:
        statement = "SELECT count(*) FROM workflow WHERE status IN ('RUNNING', 'PAUSED')"
        [[count]] = connection.execute(statement)
        return int(count)
