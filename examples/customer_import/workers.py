"""The workers of the import: read a page, tidy it, store it, or set it aside.

    batuta worker examples.customer_import.workers

Customers are kept in `.batuta/customer_import/customers.db`, by their address: a page that is
stored twice is stored once. CUSTOMER_IMPORT_HOME moves the folder.
"""

import contextlib
import csv
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batuta

Row = dict[str, str]

ADDRESS = re.compile(r"[a-z0-9.+-]+@[a-z0-9.-]+")
BUSY_S = 10.0  # another worker writes for a millisecond; longer is a fault
SCHEMA = """
CREATE TABLE IF NOT EXISTS customer (email TEXT PRIMARY KEY, name TEXT);
CREATE TABLE IF NOT EXISTS aside (file TEXT, line INTEGER, text TEXT, PRIMARY KEY (file, line));
"""


@batuta.task("read_page")
def read_page(file: str, page_size: int, cursor: int) -> dict[str, Any]:
    """Read some rows, say of what kind they are, and where the next page begins."""
    path = Path(file)
    if not path.is_file():
        raise batuta.FatalError(f"there is no file {file!r}")
    with path.open(encoding="utf-8", newline="") as text:
        found = list(csv.DictReader(text))
    rows = found[cursor : cursor + page_size]
    after = cursor + len(rows)
    return {"rows": rows, "kind": _kind(rows), "next": after, "more": after < len(found)}


@batuta.task("tidy_rows")
def tidy_rows(rows: list[Row]) -> dict[str, Any]:
    """Take away spaces and capitals."""
    return {"rows": [_tidy(row) for row in rows]}


@batuta.task("store_rows")
def store_rows(rows: list[Row]) -> dict[str, Any]:
    """Store customers; one who is there already gets the newer name."""
    with _database() as database:
        database.executemany(
            "INSERT INTO customer VALUES (:email, :name) "
            "ON CONFLICT (email) DO UPDATE SET name = excluded.name",
            rows,
        )
    # A worker that is killed here has stored the page, and nobody knows: it is stored again.
    time.sleep(_pace_s())
    return {"stored": len(rows)}


@batuta.task("set_page_aside")
def set_page_aside(file: str, cursor: int, rows: list[Row]) -> dict[str, Any]:
    """Keep a page that cannot be read for somebody who can."""
    with _database() as database:
        database.executemany(
            "INSERT INTO aside VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (file, cursor + number, f"{row['name']},{row['email']}")
                for number, row in enumerate(rows)
            ],
        )
    return {"set_aside": len(rows)}


@batuta.task("count_customers")
def count_customers() -> dict[str, Any]:
    """Say how many there are now, and what is set aside."""
    with _database() as database:
        (customers,) = database.execute("SELECT count(*) FROM customer").fetchone()
        aside = database.execute("SELECT text FROM aside ORDER BY file, line").fetchall()
    return {"customers": customers, "set_aside": [text for (text,) in aside]}


def _kind(rows: list[Row]) -> str:
    if all(ADDRESS.fullmatch(row["email"]) for row in rows):
        return "clean"
    if all(ADDRESS.fullmatch(_tidy(row)["email"]) for row in rows):
        return "untidy"
    return "broken"


def _tidy(row: Row) -> Row:
    return {"name": row["name"].strip(), "email": row["email"].strip().lower()}


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    home = Path(os.environ.get("CUSTOMER_IMPORT_HOME", ".batuta/customer_import"))
    home.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(home / "customers.db", timeout=BUSY_S)
    try:
        database.executescript(SCHEMA)
        with database:
            yield database
    finally:
        database.close()


def _pace_s() -> float:
    return float(os.environ.get("CUSTOMER_IMPORT_PACE", "0.2"))
