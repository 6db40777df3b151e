"""The shop's books: what was reserved, charged and shipped, in a SQLite file.

A step is known by its order and its name, so that doing it twice is doing it once, and undoing
it twice too. The history says in which order things really happened.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

BUSY_S = 10.0  # another worker writes for a millisecond; longer is a fault
SCHEMA = """
CREATE TABLE IF NOT EXISTS step (
    order_id TEXT, name TEXT, number TEXT, PRIMARY KEY (order_id, name)
);
CREATE TABLE IF NOT EXISTS history (
    at INTEGER PRIMARY KEY, order_id TEXT, what TEXT
);
"""


def do(order_id: str, name: str) -> str:
    """Do a step, unless it was done before; give its number in both cases."""
    number = f"{name}-{order_id}"
    with _books() as books:
        found = books.execute(
            "INSERT INTO step VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (order_id, name, number)
        )
        if found.rowcount:
            books.execute("INSERT INTO history (order_id, what) VALUES (?, ?)", (order_id, name))
    return number


def undo(order_id: str, name: str) -> bool:
    """Undo a step; False when there is nothing to undo."""
    with _books() as books:
        found = books.execute("DELETE FROM step WHERE order_id = ? AND name = ?", (order_id, name))
        if not found.rowcount:
            return False
        books.execute(
            "INSERT INTO history (order_id, what) VALUES (?, ?)", (order_id, f"undo {name}")
        )
    return True


def history(order_id: str) -> list[str]:
    """Give what happened to an order, the oldest first."""
    with _books() as books:
        rows = books.execute("SELECT what FROM history WHERE order_id = ? ORDER BY at", (order_id,))
        return [what for (what,) in rows]


@contextlib.contextmanager
def _books() -> Iterator[sqlite3.Connection]:
    """Open the books for one transaction."""
    home = Path(os.environ.get("ORDER_SAGA_HOME", ".batuta/order_saga"))
    home.mkdir(parents=True, exist_ok=True)
    books = sqlite3.connect(home / "shop.db", timeout=BUSY_S)
    try:
        books.executescript(SCHEMA)
        with books:
            yield books
    finally:
        books.close()
