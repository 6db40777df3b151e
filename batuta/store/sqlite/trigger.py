"""The one statement that writes a batch.

``INSERT INTO batch`` fires a temporary trigger whose body is every statement of a commit; each
takes its rows from a JSON array (``merge.Tables`` says what is in a row) and its bytes from
one blob. Outside a transaction that insert is a transaction of its own: SQLite begins, checks,
writes, syncs and commits within one call, without the interpreter's lock.

A call that comes back waits for the lock about one switch interval while the event loop is
busy, and a batch by table has fourteen of them. Measured so, with an interval of 0.1 ms and
completions with their polls: 0.8 ms instead of 1.5 for one, 3.2 instead of 4.4 for a hundred;
beside a free loop both ways take the same time.
"""

# ruff: noqa: S608 - what is put into the SQL here are names of this package

from collections.abc import Sequence

from batuta.store.sqlite import statements
from batuta.store.sqlite.limit.room import METER

# The columns of ``batch``: store time, rows by table as JSON arrays (NULL: none), the blob.
COLUMNS = (
    "now",
    "versions",
    "releases",
    "drops",
    "in_place",
    "reserves",
    "workflows",
    "bumps",
    "tasks",
    "larges",
    "retired",
    "queued",
    "leases",
    "timers",
    "cleared",
    "sends",
    "logs",
    "removed",
    "entries",
    "touches",
    "claims",
    "metered",
    "blob",
)
REFUSED = "refused"  # the message of the error when a decision is not to be written

_AS_THEY_ARE = ("now", "blob")


def _view(name: str, columns: Sequence[str], body: str) -> str:
    """Return the SQL of a view whose inserts run ``body``."""
    values = ", ".join(f"NULL AS {column}" for column in columns)
    return (
        f"CREATE TEMP VIEW {name} AS SELECT {values};\n"
        f"CREATE TEMP TRIGGER write_{name} INSTEAD OF INSERT ON {name} BEGIN\n"
        f"{body.format_map({column: f'NEW.{column}' for column in columns})}END;\n"
    )


def _only_with(wanted: Sequence[str], name: str, columns: Sequence[str]) -> str:
    """Return the SQL that runs another view's body when one of the ``wanted`` has rows.

    A statement costs 1 us even when it has no rows, and most batches need a third of them.
    """
    values = ", ".join(f"{{{column}}}" for column in columns)
    given = " OR ".join(f"{{{column}}} IS NOT NULL" for column in wanted)
    return f"INSERT INTO {name} SELECT {values} WHERE {given};\n"


_REST = (
    "larges",
    "retired",
    "drops",
    "reserves",
    "timers",
    "cleared",
    "sends",
    "logs",
)
_BODY = "".join(
    (
        f"SELECT RAISE(ABORT, '{REFUSED}') WHERE EXISTS ({statements.CHECK});\n",
        statements.RECORDS,
        statements.HANDS,
        _only_with(_REST, "rest", (*_REST, "blob")),
        _only_with(["removed"], "removal", ["removed"]),
        statements.JOURNAL,
        _only_with(["touches"], "touching", ["touches", "now"]),
        _only_with(["claims"], "claiming", ["claims", "now"]),
        _only_with(["metered"], "metering", ["metered", "now"]),
    )
)

# To be run once by the connection that writes.
PREPARE = "".join(
    (
        statements.TABLES,
        _view("rest", (*_REST, "blob"), statements.REST),
        _view("removal", ["removed"], statements.REMOVAL),
        _view("touching", ["touches", "now"], statements.TOUCHES),
        _view("claiming", ["claims", "now"], statements.CLAIMS),
        _view("metering", ["metered", "now"], METER),
        _view("batch", COLUMNS, _BODY),
    )
)

# Parameters are bytes, which cost the event loop nothing to make: the cast is done here.
_PARAMETERS = {
    column: f":{column}" if column in _AS_THEY_ARE else f"CAST(:{column} AS TEXT)"
    for column in COLUMNS
}
WRITE = f"INSERT INTO batch VALUES ({', '.join(_PARAMETERS.values())})"

# The same check, of decisions of which some were refused: which ones, and why.
CHECK = statements.CHECK.format_map(_PARAMETERS)
